//! Frames of the wire protocol, and the reactions of both ends.

use dumpfile::wire::{
    Event, Frame, FrameReader, Plan, Receiver, ReceiverStep, ReceiverTimes, SMALL_FRAME, Sender,
    SenderConfig, SenderStep, Slot, Source, Unreadable, ViewInfo, encode,
};

/// The session of the seeds.
const SESSION: u32 = 0x4d;

/// Reads the bytes as a stream, in one piece and byte by byte: both find the same. A frame decodes
/// to the same after it is written again. A receiver and a sender take the frames.
///
/// # Panics
/// Panics if one of these does not hold.
pub fn frames(bytes: &[u8]) {
    let whole = events(bytes, bytes.len().max(1));
    assert_eq!(whole, events(bytes, 1), "the pieces matter");
    both_ends(bytes);
}

/// Returns the findings of a reader: frames as bytes, text and the bytes of bulks as they are, and
/// the number of damaged frames.
fn events(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, Vec<u8>, Vec<u8>, u64) {
    let mut reader = FrameReader::new(vec![0; 1024]);
    let (mut frames, mut text, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for mut input in bytes.chunks(piece) {
        while let Some(event) = reader.next(&mut input, SESSION) {
            match event {
                Event::Text(part) => text.extend_from_slice(part),
                Event::Piece(part) => raw.extend_from_slice(part.bytes),
                Event::Stored(part) => raw.extend_from_slice(part.bytes),
                Event::OtherVersion(version) => frames.push(vec![version]),
                Event::Nonsense(error) => frames.push(error.to_string().into_bytes()),
                Event::Frame(packet) => {
                    let mut out = vec![0; 1024];
                    let length = encode(&packet, SESSION, &mut out).expect("it came in one");
                    out.truncate(length);
                    assert_eq!(read_again(&out, &packet.frame), Some(format!("{event:?}")));
                    frames.push(out);
                }
            }
        }
    }
    (frames, text, raw, reader.damage().frames)
}

/// Reads a frame that was written again, with as many bytes after it as it announces.
fn read_again(written: &[u8], frame: &Frame<'_>) -> Option<String> {
    let raw = match frame {
        Frame::Bulk(range) => range.length(),
        Frame::Chunk(chunk) if chunk.follows => chunk.entry.stored.into(),
        _ => 0,
    };
    let line = [written, &vec![1; raw as usize]].concat();
    let mut reader = FrameReader::new(vec![0; 1024]);
    let mut input = &line[..];
    loop {
        match reader.next(&mut input, SESSION)? {
            Event::Piece(piece) => assert_eq!(piece.bytes.len() as u64, raw),
            Event::Stored(stored) => assert_eq!(stored.bytes.len() as u64, raw),
            event => return Some(format!("{event:?}")),
        }
    }
}

/// A view of a few bytes.
struct Tiny;

impl Source for Tiny {
    fn view(&self, view: u16) -> Option<ViewInfo<'_>> {
        let info = ViewInfo {
            name: "vmcore",
            length: 1000,
            start: 0,
            pushed: true,
            ..ViewInfo::default()
        };
        (view == 0).then_some(info)
    }

    fn read(&mut self, view: u16, offset: u64, bytes: &mut [u8]) -> Result<(), Unreadable> {
        assert!(view == 0 && offset + bytes.len() as u64 <= 1000, "outside of the view");
        bytes.fill(1);
        Ok(())
    }
}

fn both_ends(bytes: &[u8]) {
    let mut slots = [Slot::default(); 4];
    let config = SenderConfig { bulk: true, ..SenderConfig::serial([0; 16]) };
    let mut sender = Sender::new(config, &mut slots, 0);
    let receiver = Receiver::new(Plan::Dump, ReceiverTimes::default(), 1024, None);
    let takes_bulk = bytes.len().is_multiple_of(2);
    let mut receiver = if takes_bulk { receiver.taking_bulk() } else { receiver };
    receiver.connect(SESSION, 0);
    let mut reader = FrameReader::new(vec![0; 1024]);
    let mut out = [0; SMALL_FRAME];
    let (mut input, mut now) = (bytes, 0);
    loop {
        reader.limit(receiver.frame_limit());
        let Some(event) = reader.next(&mut input, SESSION) else { break };
        now += 1;
        let taken = match event {
            Event::Frame(packet) => {
                sender.receive(&packet, now);
                receiver.receive(&packet, now)
            }
            Event::Piece(piece) => receiver.receive_piece(&piece),
            Event::Stored(stored) => {
                receiver.receive_stored(&stored);
                Ok(None)
            }
            _ => continue,
        };
        let step = sender.poll(&mut Tiny, now, &mut out).expect("room for a frame");
        if let SenderStep::Bulk { range, .. } = step {
            assert!(range.view() == 0 && range.end() <= 1000, "outside of the view");
        }
        if taken.is_ok()
            && let Ok(ReceiverStep::Compare(range, _)) = receiver.poll(now, &mut out)
        {
            let _ = receiver.compared(range, now % 2 == 0);
        }
        for (_, view) in receiver.views() {
            let (wanted, there) = view.progress();
            assert!(there <= wanted && wanted <= view.length, "more than there is");
        }
    }
}
