/* Types of all kinds, and the compiler's own word on their layout: offsets and sizes in `truth`,
   bits of bitfields in variables in which only they are set. */
#include <stddef.h>

enum colour { RED, GREEN = 7, BLUE = -2 };
enum { NAMELESS = 11, LAST = 200 };
union both { long whole; char parts[sizeof(long)]; };
typedef struct node node_t;
struct only_declared;

struct inner { short first; long long second; };
struct node {
    struct node *next;
    node_t *other;
    const char *name;
    unsigned char flags;
    unsigned low : 3, middle : 7;
    signed int high : 5;
    unsigned long wide : 20;
    enum colour colour;
    union both both;
    struct { int deep; char letter; };
    struct inner inner;
    int grid[3][5];
    struct only_declared *hidden;
    void (*call)(int);
    _Bool is_set;
    double real;
    struct inner last[];
};

#define AT(member) offsetof(struct node, member)
const unsigned truth[] = {
    sizeof(struct node), sizeof(struct inner), sizeof(union both), offsetof(struct inner, second),
    AT(next), AT(other), AT(name), AT(flags), AT(colour), AT(both), AT(deep), AT(letter),
    AT(inner.second), AT(grid), AT(grid[2]), AT(hidden), AT(call), AT(is_set), AT(real), AT(last),
};

struct node bits_low = { .low = 7 };
struct node bits_middle = { .middle = 127 };
struct node bits_high = { .high = -1 };
struct node bits_wide = { .wide = 0xfffff };

extern struct node *table[4];
struct node *table[4];
static enum colour own_colour = GREEN;
int nameless = NAMELESS + LAST;
int _start(void) { return own_colour + nameless; }
void _stext(void) {}
