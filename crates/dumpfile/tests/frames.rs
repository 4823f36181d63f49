//! Frames byte by byte, and a reader's results for a stream.

use dumpfile::chunk::{ChunkEntry, Codec, Left};
use dumpfile::wire::{
    CLASSES, Chunk, End, Event, Frame, FrameReader, Greeting, HEADER_SIZE, Hello, MARK, Packet,
    Piece, Range, SMALL_FRAME, Stored, VERSION, ViewInfo, WireError, encode,
};
use proptest::prelude::*;
use vmcore::PageClass;

const SESSION: u32 = 77;
const GREETING: Greeting =
    Greeting { id: *b"0123456789abcdef", length: 0x1000, max_frame: 256, views: 3, bulk: true };
const HELLO: Hello = Hello { session: 1, max_frame: 256, push: false, bulk: false, lz4: false };
const SHA256_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |index: usize| u8::from_str_radix(&hex[index..index + 2], 16).expect("digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

fn written(seq: u32, frame: Frame<'_>) -> Vec<u8> {
    let mut out = vec![0; 70_000];
    let length = encode(&Packet { seq, frame }, SESSION, &mut out).expect("a frame");
    out.truncate(length);
    out
}

fn range(view: u16, offset: u64, length: u64) -> Range {
    Range::new(view, offset, length).expect("a range")
}

/// Returns the events that a reader finds, as text.
fn found(mut input: &[u8]) -> Vec<String> {
    let mut reader = FrameReader::new(vec![0; 1024]);
    let mut found = Vec::new();
    while let Some(event) = reader.next(&mut input, SESSION) {
        found.push(match event {
            Event::Text(text) => format!("text {}", String::from_utf8_lossy(text)),
            Event::Frame(packet) => format!("frame {}", packet.seq),
            other => format!("{other:?}"),
        });
    }
    found
}

/// Worked out in Python, from the table in the module's documentation and a bitwise CRC-32C.
/// Changing this needs a new [`VERSION`].
#[test]
fn encoding_of_version_2() {
    assert_eq!(VERSION, 2);
    let sha256 = bytes(SHA256_OF_ABC).try_into().expect("32 bytes");
    let hello = Hello { session: 77, max_frame: 65_536, push: true, bulk: false, lz4: false };
    let view = ViewInfo {
        name: "dmesg",
        length: 700,
        start: 0x10_0000,
        pushed: true,
        level: 31,
        codec: Codec::Lz4,
    };
    let wants = [range(0, 1, 2), range(1, 3, 4)].into_iter().collect();
    let data = |bytes| Frame::Data { view: 1, offset: 0x1234, bytes };
    let totals: [u64; CLASSES] = std::array::from_fn(|class| 100 + class as u64);
    let cases = [
        (9, data(b"abc"), "f60002050d003164090000000100341200000000000061626385ca6c6d"),
        (
            9,
            data(&[0xf6, 0xf7, 0xf4]),
            "f60301060e0332670a03030302033711030303030303f5f4f709cd563e",
        ),
        (1, Frame::Hello(hello), "f60002020a001dc9010000004d0000000000010001008fa280b2"),
        (
            1,
            Frame::Hello(Hello { bulk: true, ..hello }),
            "f60002020a001dc9010000004d0000000000010003006192c595",
        ),
        (
            1,
            Frame::Hello(Hello { bulk: true, lz4: true, ..hello }),
            "f60002020a001dc9010000004d000000000001000700bdf34fdb",
        ),
        (
            0,
            Frame::Announce(GREETING),
            "f600020120003a19000000003031323334353637383961626364656600100000000000000001000003000100b3382566",
        ),
        (
            1,
            Frame::View(2, view),
            "f60002041d00ce070100000002000100bc0200000000000000001000000000001f020000646d6573677c450ac0",
        ),
        (
            2,
            Frame::Left(range(1, 0x3000, 0x5000), PageClass::Offline),
            "f60002071300375502000000010000300000000000000050000000000000066ba7e2c5",
        ),
        (
            3,
            Frame::Chunk(chunk_7()),
            "f600020f1800d3000300000001000700000002012c010000443322111000000000000060ca0f25eb",
        ),
        (
            4,
            Frame::Part { view: 1, chunk: 7, offset: 230, bytes: b"abc" },
            "f60002100d00df2f04000000010007000000e6000000616263cf006b1d",
        ),
        (
            5,
            Frame::Totals(1, totals),
            "f60002128200d68d0500000001006400000000000000650000000000000066000000000000006700000000000000680000000000000069000000000000006a000000000000006b000000000000006c000000000000006d000000000000006e000000000000006f00000000000000700000000000000071000000000000007200000000000000730000000000000049c6fc27",
        ),
        (
            4,
            Frame::Ack { highest: 70, before: 3 },
            "f60002080c00e7f404000000460000000300000000000000fb2fd834",
        ),
        (
            5,
            Frame::Want(wants),
            "f6000209240023460500000000000100000000000000020000000000000001000300000000000000040000000000000080978ba4",
        ),
        (
            0,
            Frame::Checked(range(1, 0, 3), sha256),
            "f600020b32009db400000000010000000000000000000300000000000000ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad8a1f1921",
        ),
        (6, Frame::Done(End::Complete), "f600020c0100ee6a060000000017983199"),
        (0, Frame::Bye, "f600020d0000e760000000009a2bbaad"),
    ];
    for (seq, frame, hex) in cases {
        assert_eq!(written(seq, frame), bytes(hex), "{frame:?}");
        let (encoded, mut reader) = (bytes(hex), FrameReader::new([0; SMALL_FRAME]));
        let event = reader.next(&mut &encoded[..], SESSION);
        assert_eq!(event, Some(Event::Frame(Packet { seq, frame })));
    }
}

/// The head of a chunk: page 1 is zero and page 15 is offline.
fn chunk_7() -> Chunk {
    let mut left = Left::default();
    left.set(1, PageClass::Zero);
    left.set(15, PageClass::Offline);
    let (codec, crc) = (Codec::Lz4, Some(0x1122_3344));
    let entry = ChunkEntry { chunk: 7, codec, stored: 300, crc, left };
    Chunk { view: 1, entry, follows: false }
}

#[test]
fn another_version_is_known_by_its_greeting() {
    let announce = bytes(
        "f6000306200082b3000000003031323334353637383961626364656600100000000000000001000003000100ff29d808",
    );
    assert!(found(&announce).is_empty(), "its header is damaged");
    for (version, announce) in [
        (
            1,
            "f600010120000390000000003031323334353637383961626364656600100000000000000001000003000100c7026a56",
        ),
        (
            3,
            "f6000301200082b3000000003031323334353637383961626364656600100000000000000001000003000100ff29d808",
        ),
    ] {
        assert_eq!(found(&bytes(announce)), [format!("OtherVersion({version})")]);
    }
}

/// The head is from the same Python as [`encoding_of_version_2`].
#[test]
fn stored_bytes_that_follow_a_chunk_are_handed_out_as_they_come() {
    let head =
        bytes("f600020f1800d3000300000001000700000002032c01000044332211100000000000006074b7ec54");
    let chunk = Chunk { follows: true, ..chunk_7() };
    assert_eq!(written(3, Frame::Chunk(chunk)), head);
    let line = [&head[..], &[MARK; 300], &written(4, Frame::Bye)].concat();
    let mut reader = FrameReader::new([0; SMALL_FRAME]);
    let (mut place, mut seen) = (0, Vec::new());
    for mut input in line.chunks(101) {
        while let Some(event) = reader.next(&mut input, SESSION) {
            match event {
                Event::Stored(Stored { chunk: whose, offset, bytes }) => {
                    assert_eq!((whose, offset), (chunk, place));
                    assert!(bytes.iter().all(|byte| *byte == MARK));
                    place += bytes.len() as u32;
                }
                Event::Frame(Packet { seq, frame }) => {
                    assert!(seq != 3 || (frame, place) == (Frame::Chunk(chunk), 300));
                    seen.push(seq);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((seen, reader.damage().frames), (vec![3, 4], 0));
}

#[test]
fn frames_of_another_session_are_damage() {
    let data = written(1, Frame::Data { view: 0, offset: 0, bytes: b"abc" });
    let mut reader = FrameReader::new([0; SMALL_FRAME]);
    assert_eq!(reader.next(&mut &data[..], SESSION + 1), None);
    assert_eq!(reader.damage().frames, 1);
    let hello = written(1, Frame::Hello(HELLO));
    assert!(reader.next(&mut &hello[..], 5).is_some(), "a hello has no session yet");
}

#[test]
fn text_and_frames_share_a_line() {
    let frame = written(7, Frame::Bye);
    let line = [b"before", &frame[..], &frame, "hinter ä".as_bytes()].concat();
    assert_eq!(found(&line), ["text before", "frame 7", "frame 7", "text hinter ä"]);
    // The rest of a cut frame is not taken for text, and the next frame is whole.
    let cut = [&frame[..9], &frame, b"text"].concat();
    assert_eq!(found(&cut), ["frame 7", "text text"]);
    // A broken header hides the bytes after it, up to the next mark, or as many as a frame can
    // have.
    let mut broken = frame.clone();
    broken[4] ^= 1;
    let line = [&broken[..], b"lost", &frame, b"text"].concat();
    assert_eq!(found(&line), ["frame 7", "text text"]);
    let line = [&broken[..], &[b'.'; 300]].concat();
    assert_eq!(
        found(&line),
        [format!("text {}", ".".repeat(300 - (SMALL_FRAME - HEADER_SIZE - 4)))]
    );
}

#[test]
fn a_frame_in_a_dump_is_not_a_frame() {
    let inner = written(3, Frame::Data { view: 0, offset: 0, bytes: b"forged" });
    let outer = written(4, Frame::Data { view: 0, offset: 0, bytes: &inner });
    for lost in 0..outer.len() {
        let line = [&outer[..lost], &outer[lost + 1..], &[b' '; 300]].concat();
        assert!(!found(&line).contains(&"frame 3".to_owned()), "without byte {lost}");
    }
}

#[test]
fn large_frames_lie_as_they_are() {
    let memory = [MARK; 500];
    let frame = written(2, Frame::Data { view: 0, offset: 0, bytes: &memory });
    assert_eq!(frame[HEADER_SIZE + 10..][..500], memory);
    assert_eq!(found(&[&frame[..], b"text"].concat()), ["frame 2", "text text"]);
    let mut small = FrameReader::new([0; SMALL_FRAME]);
    assert_eq!(small.next(&mut &frame[..20], SESSION), None);
    assert_eq!(small.damage().frames, 1, "it does not fit");
}

/// A bulk's head is from the same Python as [`encoding_of_version_2`]; all its bytes are marks.
#[test]
fn bytes_of_a_bulk_are_handed_out_as_they_come() {
    let head = bytes("f600020e0e001e320a000000010034120000000000000000100087e24f48");
    assert_eq!(written(10, Frame::Bulk(range(1, 0x1234, 1 << 20))), head);
    let memory = vec![MARK; 1 << 20];
    let line = [b"text", &head[..], &memory, &written(11, Frame::Bye)].concat();
    let mut reader = FrameReader::new([0; SMALL_FRAME]);
    let (mut place, mut seen) = (0x1234, Vec::new());
    for mut input in line.chunks(70_001) {
        while let Some(event) = reader.next(&mut input, SESSION) {
            match event {
                Event::Piece(Piece { view: 1, offset, bytes }) => {
                    assert_eq!(offset, place);
                    assert!(bytes.iter().all(|byte| *byte == MARK));
                    place += bytes.len() as u64;
                }
                Event::Frame(Packet { seq: 10, frame: Frame::Bulk(whole) }) => {
                    assert_eq!((whole, place), (range(1, 0x1234, 1 << 20), 0x1234 + (1 << 20)));
                    seen.push(10);
                }
                Event::Frame(Packet { seq, .. }) => seen.push(seq),
                Event::Text(text) => assert_eq!(text, b"text"),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(seen, [10, 11]);
    assert_eq!(reader.damage().frames, 0);
    assert!(encode_bulk((1 << 20) + 1).is_err(), "longer than the longest");
}

fn encode_bulk(length: u64) -> Result<usize, WireError> {
    let frame = Frame::Bulk(range(0, 0, length));
    encode(&Packet { seq: 1, frame }, SESSION, &mut [0; SMALL_FRAME])
}

#[test]
fn a_bulk_of_another_session_is_passed_over() {
    let inner = written(3, Frame::Bye);
    let head = written(2, Frame::Bulk(range(0, 0, inner.len() as u64 + 2)));
    let mut reader = FrameReader::new([0; SMALL_FRAME]);
    let begun = [&head[..], b"a"].concat();
    assert!(matches!(reader.next(&mut &begun[..], SESSION), Some(Event::Piece(_))));
    // The next session begins while its bytes still come.
    let rest = [&inner[..], b"z", &written(4, Frame::Hello(HELLO))].concat();
    let mut input = &rest[..];
    let event = reader.next(&mut input, SESSION + 1);
    assert_eq!(event, Some(Event::Frame(Packet { seq: 4, frame: Frame::Hello(HELLO) })));
    assert_eq!(reader.damage().frames, 1);
    // A line that begins anew is not inside of a bulk.
    assert!(matches!(reader.next(&mut &begun[..], SESSION), Some(Event::Piece(_))));
    reader.restart();
    let event = reader.next(&mut &inner[..], SESSION);
    assert_eq!(event, Some(Event::Frame(Packet { seq: 3, frame: Frame::Bye })));
    assert_eq!(reader.damage().frames, 2);
}

#[test]
fn no_header_hides_what_follows_where_frames_are_small() {
    let large = written(2, Frame::Data { view: 0, offset: 0, bytes: &[1; 500] });
    let frame = written(3, Frame::Bye);
    let line = [&large[..HEADER_SIZE], &frame].concat();
    let mut reader = FrameReader::new([0; 1024]);
    reader.limit(SMALL_FRAME);
    let event = reader.next(&mut &line[..], SESSION);
    assert_eq!(event, Some(Event::Frame(Packet { seq: 3, frame: Frame::Bye })));
}

/// Whole frames with invalid contents.
#[test]
fn a_checksum_does_not_make_it_right() {
    let spoilt = |frame: Frame<'_>, offset: usize, value: u8| {
        let mut bytes = written(1, frame);
        bytes[offset] = value;
        let (body, trailer) = (bytes.len() - 4, crc32c(SESSION, &bytes[2..bytes.len() - 4]));
        bytes[body..].copy_from_slice(&trailer.to_le_bytes());
        found(&bytes).remove(0)
    };
    let left = Frame::Left(range(1, 0, 4096), PageClass::User);
    assert_eq!(spoilt(left, 30, 10), "Nonsense(Class(10))");
    assert_eq!(spoilt(left, 30, 0), "Nonsense(Class(0))");
    let chunk = Frame::Chunk(chunk_7());
    assert_eq!(spoilt(chunk, 12, 16), "Nonsense(View(16))");
    assert_eq!(spoilt(chunk, 18, 3), "Nonsense(Codec(3))");
    assert_eq!(spoilt(chunk, 22, 1), "Nonsense(Stored { offset: 0, length: 65836 })");
    assert_eq!(spoilt(chunk, 28, 0xa0), "Nonsense(Class(10))");
    let part = Frame::Part { view: 1, chunk: 7, offset: 65_533, bytes: b"abc" };
    assert_eq!(spoilt(part, 18, 0xfe), "Nonsense(Stored { offset: 65534, length: 3 })");
    assert_eq!(spoilt(Frame::Totals(1, [0; CLASSES]), 12, 16), "Nonsense(View(16))");
    let zero = Frame::Zero(range(1, 0x10, 0x20));
    assert_eq!(spoilt(zero, 13, 1), "Nonsense(View(257))");
    assert_eq!(spoilt(zero, 22, 0), "Nonsense(Range { offset: 16, length: 0 })");
    let name = ViewInfo { name: "dmesg", length: 1, start: 1, pushed: true, ..ViewInfo::default() };
    assert_eq!(spoilt(Frame::View(0, name), 33, 3), "Nonsense(Codec(3))");
    assert_eq!(spoilt(Frame::View(0, name), 37, b'/'), "Nonsense(Name)");
    assert_eq!(spoilt(Frame::View(0, name), 36, 0xff), "Nonsense(Name)");
    assert_eq!(spoilt(Frame::Welcome(GREETING), 37, 0), "Nonsense(FrameLimit(0))");
    assert_eq!(spoilt(Frame::Welcome(GREETING), 40, 17), "Nonsense(View(17))");
    // Anybody can write an announcement.
    let mut announce = written(0, Frame::Announce(GREETING));
    announce[40] = 17;
    let (body, trailer) = (announce.len() - 4, crc32c(0, &announce[2..announce.len() - 4]));
    announce[body..].copy_from_slice(&trailer.to_le_bytes());
    assert!(found(&announce).is_empty());
    let bulk = Frame::Bulk(range(1, 0, 1 << 20));
    assert_eq!(spoilt(bulk, 22, 1), "Nonsense(Range { offset: 0, length: 1048577 })");
}

/// CRC-32C over the session and `bytes`, bit by bit.
fn crc32c(session: u32, bytes: &[u8]) -> u32 {
    let bytes = session.to_le_bytes().into_iter().chain(bytes.iter().copied());
    !bytes.fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}

#[test]
fn what_cannot_be_written_is_refused() {
    let name = ViewInfo { name: "../x", length: 1, start: 1, pushed: true, ..ViewInfo::default() };
    let refused = encode(&Packet { seq: 1, frame: Frame::View(0, name) }, 1, &mut [0; 256]);
    assert_eq!(refused, Err(WireError::Name));
    let bytes = [0; 65_536];
    let frame = Frame::Data { view: 0, offset: 0, bytes: &bytes };
    let refused = encode(&Packet { seq: 1, frame }, 1, &mut vec![0; 70_000]);
    assert!(matches!(refused, Err(WireError::Room { needed: 65_562, .. })), "{refused:?}");
    let refused = encode(&Packet { seq: 1, frame: Frame::Bye }, 1, &mut [0; 15]);
    assert_eq!(refused, Err(WireError::Room { needed: 16, room: 15 }));
    assert_eq!(Range::new(16, 0, 1), Err(WireError::View(16)));
    assert!(Range::new(0, u64::MAX, 1).is_err() && Range::new(0, 1, 0).is_err());
}

proptest! {
    /// The mark is nowhere but at the front of a small frame, whatever it carries.
    #[test]
    fn the_mark_is_the_first_byte_only(bytes in prop::collection::vec(any::<u8>(), 1..=230), seq: u32) {
        let frame = written(seq, Frame::Data { view: 3, offset: 1 << 40, bytes: &bytes });
        prop_assert!(frame.len() <= SMALL_FRAME);
        prop_assert!(!frame[1..].contains(&MARK));
        let mut reader = FrameReader::new([0; SMALL_FRAME]);
        let packet = Packet { seq, frame: Frame::Data { view: 3, offset: 1 << 40, bytes: &bytes } };
        prop_assert_eq!(reader.next(&mut &frame[..], SESSION), Some(Event::Frame(packet)));
    }

    /// The worst case for the mask: as many different bytes as fit.
    #[test]
    fn there_is_always_a_mask(first: u8, seq: u32) {
        let bytes: Vec<u8> = (0..230).map(|index| first.wrapping_add(index)).collect();
        let frame = written(seq, Frame::Data { view: 0, offset: 0, bytes: &bytes });
        prop_assert!(!frame[1..].contains(&MARK));
    }

    #[test]
    fn a_wrong_byte_is_never_accepted(bytes in prop::collection::vec(any::<u8>(), 1..=230), at: prop::sample::Index, flip in 1u8..) {
        let mut frame = written(5, Frame::Data { view: 0, offset: 0, bytes: &bytes });
        let at = at.index(frame.len());
        frame[at] ^= flip;
        frame.extend([b' '; 300]);
        let accepted = found(&frame).into_iter().any(|event| !event.starts_with("text"));
        prop_assert!(!accepted);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(prop_oneof![Just(MARK), Just(0u8), any::<u8>()], 0..300)) {
        found(&bytes);
    }
}
