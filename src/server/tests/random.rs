//! Whatever comes, in whatever pieces.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::refusals::refused;
use super::support::{Seen, limits, responses, service};
use crate::drain::Drain;
use crate::script::Script;
use crate::server::connection;
use crate::server::listener::Entrance;
use crate::server::listener::Place;

/// What the service saw and the client got, for bytes cut at `cuts`.
pub(super) fn play(bytes: &[u8], cuts: &[prop::sample::Index]) -> (Vec<String>, Vec<u8>) {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for place in places.into_iter().chain([bytes.len()]) {
        pieces.push(bytes[start..place].to_vec());
        start = place;
    }
    let script = Script::new(pieces, false);
    let answers = script.received();
    let seen = Seen::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let connection = connection::serve(
            script,
            [192, 0, 2, 1].into(),
            Arc::new(Entrance::plain("192.0.2.2:80".parse().unwrap())),
            Place::lone(&Drain::new()),
            service(seen.clone()),
            Arc::new(limits()),
        );
        // Time is paused: this is how long nothing may keep it, not a wait.
        let ended = tokio::time::timeout(Duration::from_secs(3600), connection).await;
        ended.expect("every connection ends");
    });
    let answers = answers.lock().clone();
    (seen.requests(), answers)
}

/// A request, and what the service is to see of it.
pub(super) fn request() -> impl Strategy<Value = (Vec<u8>, String)> {
    let method = prop::sample::select(vec!["GET", "POST", "PUT", "DELETE"]);
    let path = "/[a-z]{1,4}[0-9]";
    let body = prop::collection::vec(prop::collection::vec(b' '..=b'~', 1..20), 0..4);
    let fields = prop::collection::vec("X-[a-z]{1,8}: [ -~]{0,20}\r\n", 0..4);
    let framing = 0..3_u8;
    let empty_line = any::<bool>();
    (method, path, body, fields, framing, empty_line).prop_map(
        |(method, path, body, fields, framing, empty_line)| {
            let mut bytes = if empty_line { "\r\n" } else { "" }.to_owned().into_bytes();
            let fields = fields.concat();
            bytes.extend(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}").bytes());
            let content = body.concat();
            match framing {
                0 => {
                    bytes.extend(b"\r\n");
                    return (bytes, format!("{method} {path} "));
                }
                1 => {
                    bytes.extend(format!("Content-Length: {}\r\n\r\n", content.len()).bytes());
                    bytes.extend(&content);
                }
                _ => {
                    bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in &body {
                        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                        bytes.extend(chunk);
                        bytes.extend(b"\r\n");
                    }
                    bytes.extend(b"0\r\n\r\n");
                }
            }
            let content = String::from_utf8(content).unwrap();
            (bytes, format!("{method} {path} {content}"))
        },
    )
}

pub(super) fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pieces_make_no_difference(
        requests in prop::collection::vec(request(), 1..6),
        cuts in cuts(),
    ) {
        let (bytes, expected): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        let bytes = bytes.concat();
        let whole = play(&bytes, &[]);
        let cut = play(&bytes, &cuts);
        prop_assert_eq!(&whole.0, &expected);
        prop_assert_eq!(&cut.0, &expected);
        let answers = responses(std::str::from_utf8(&cut.1).unwrap());
        prop_assert_eq!(answers.len(), expected.len());
    }

    #[test]
    fn nothing_follows_a_refusal(
        before in prop::collection::vec(request(), 0..4),
        bad in prop::sample::select(refused()),
        after in request(),
        cuts in cuts(),
    ) {
        let (bytes, expected): (Vec<_>, Vec<_>) = before.into_iter().unzip();
        let (head, status) = bad;
        let bytes = [bytes.concat(), head.into_bytes(), after.0].concat();
        let (seen, answers) = play(&bytes, &cuts);
        prop_assert_eq!(seen, expected.clone());
        let answers = responses(std::str::from_utf8(&answers).unwrap());
        prop_assert_eq!(answers.len(), expected.len() + 1);
        prop_assert_eq!(answers[expected.len()].0, status);
    }

    #[test]
    fn bytes_that_were_tampered_with_do_no_harm(
        requests in prop::collection::vec(request(), 1..5),
        tampered in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cuts in cuts(),
    ) {
        let (bytes, _): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        let mut bytes = bytes.concat();
        for (place, byte) in tampered {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let (seen, _) = play(&bytes, &[]);
        // Where a request is broken by what never came, how far it got depends
        // on when; the requests that were seen whole do not.
        prop_assert_eq!(seen, play(&bytes, &cuts).0);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        cuts in cuts(),
    ) {
        let (seen, _) = play(&bytes, &cuts);
        prop_assert!(seen.is_empty());
    }
}
