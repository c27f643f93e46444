//! The Redis protocol's requests. The file is compiled in here: the gateway shows nothing of its doors.

use arbitrary::Unstructured;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "resp",
    what: "however a stream is cut, the same commands come out, and memory is bounded by what came",
    run,
    seeds,
    bytes_max: 4096,
    inputs: 50_000,
};

use self::decode::{Bounds, Decoder, Malformed, Next};

#[path = "../../../../host/gateway/src/resp/decode.rs"]
#[allow(unreachable_pub)]
mod decode;

const BOUNDS: Bounds = Bounds {
    words_max: 1_000,
    command_bytes_max: 2_000,
    skip_bytes_max: 10_000,
    line_bytes_max: 100,
};

/// Memory for each byte that came: the shortest word has six.
const FACTOR: usize = 32;

fn run(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let Ok(repeat) = choices.int_in_range(0..=2u8) else {
        return;
    };
    let cuts: [u8; 4] = choices.arbitrary().unwrap_or_default();
    let stream = choices.take_rest().repeat(1 << (4 * repeat));
    let whole = decoded(&stream, &[u8::MAX; 4], 1 << 20);
    let mut cut = (Vec::new(), None);
    crate::memory::bounded(&stream, FACTOR, || cut = decoded(&stream, &cuts, 1));
    assert_eq!(cut, whole);
    round_trip(&whole.0);
}

/// What is found in a stream of which so many bytes come at a time, in units.
fn decoded(stream: &[u8], cuts: &[u8], unit: usize) -> (Vec<Next>, Option<Malformed>) {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    let mut rest = stream;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let cut = (1 + usize::from(*cuts.next().expect("there are some"))) * unit;
        let (piece, behind) = rest.split_at(cut.min(rest.len()));
        decoder.push(piece);
        rest = behind;
        loop {
            match decoder.next(&BOUNDS) {
                Ok(Next::Partial) => break,
                Ok(next) => found.push(next),
                Err(malformed) => return (found, Some(malformed)),
            }
        }
        assert!(decoder.held() <= FACTOR * stream.len());
    }
    (found, None)
}

/// Commands come back as they are sent.
fn round_trip(found: &[Next]) {
    let mut stream = Vec::new();
    let mut sent = Vec::new();
    for next in found {
        let Next::Command(words) = next else { continue };
        assert!(!words.is_empty());
        stream.extend(format!("*{}\r\n", words.len()).bytes());
        for word in words {
            stream.extend(format!("${}\r\n", word.len()).bytes());
            stream.extend(word);
            stream.extend(b"\r\n");
        }
        // Each word counts more than on a line, so one that came as a line may be too large now.
        let bytes: usize = words.iter().map(|word| word.len() + 32).sum();
        sent.push(if bytes > BOUNDS.command_bytes_max {
            Next::TooLarge
        } else {
            next.clone()
        });
    }
    assert_eq!(decoded(&stream, &[u8::MAX; 4], 1 << 20), (sent, None));
}

fn seeds() -> Vec<Vec<u8>> {
    let with = |repeat: u8, cuts: [u8; 4], stream: &[u8]| [&[repeat], &cuts[..], stream].concat();
    let large = [b"*2\r\n$3\r\nSET\r\n$3000\r\n", &[b'x'; 3_000][..], b"\r\n"].concat();
    vec![
        with(0, [0; 4], b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*0\r\n"),
        with(
            1,
            [1, 7, 2, 100],
            b"*1\r\n$4\r\nPING\r\nset k \"a\\x41\\n\" 'b\\''\n",
        ),
        with(2, [60, 0, 9, 1], b"*3\r\n$0\r\n\r\n$0\r\n\r\n$1\r\n\0\r\n"),
        with(0, [250; 4], &large),
        with(0, [3; 4], b"*1\r\n$1073741824\r\n"),
        with(0, [3; 4], &b"*1\r\n".repeat(100)),
    ]
}
