//! Records: round trips, and everything that is not one.

use proptest::prelude::*;

use super::*;
use crate::message::samples::fields;
use crate::store::samples::{response, varying};

const ROOM: u64 = 64 << 20;

fn round_trip(response: &StoredResponse) -> StoredResponse {
    let record = Bytes::from(encode_response(response).unwrap());
    match decode(&record, ROOM).unwrap() {
        Record::Response(decoded) => *decoded,
        Record::Pointer(_) => panic!("a response became a pointer"),
    }
}

fn assert_same(decoded: &StoredResponse, original: &StoredResponse) {
    let expected = StoredHead {
        position: Position {
            local: 0,
            ..original.head.position
        },
        ..original.head.clone()
    };
    assert_eq!(format!("{:?}", decoded.head), format!("{expected:?}"));
    assert_eq!(decoded.head.fields, original.head.fields);
    assert_eq!(decoded.body, original.body);
}

/// A record with this content and a checksum that is right.
fn forged(kind: u8, flags: u8, lengths: [u32; 4], content: &[u8]) -> Bytes {
    let mut record = Vec::from(*MAGIC);
    record.extend_from_slice(&[VERSION, kind, flags, 0, 0, 0, 0]);
    for length in lengths {
        record.extend_from_slice(&length.to_le_bytes());
    }
    record.extend_from_slice(content);
    let checksum = checksum(&record).to_le_bytes();
    record[CRC_AT..LENGTHS_AT].copy_from_slice(&checksum);
    Bytes::from(record)
}

#[test]
fn a_response_comes_back_as_it_was_but_for_the_local_position() {
    for body in ["", "short", &"long and repetitive ".repeat(10_000)] {
        let original = response(body.to_owned());
        assert_same(&round_trip(&original), &original);
    }
    let varying = varying("x", "Accept, X-Tenant", &fields(&[("accept", "text/html")]));
    assert_same(&round_trip(&varying), &varying);
}

#[test]
fn a_record_names_the_varying_fields_but_holds_no_value_of_them() {
    let request = fields(&[
        ("authorization", "Bearer hunter2"),
        ("cookie", "sid=hunter2"),
    ]);
    let record = encode_response(&varying("x", "Authorization, Cookie", &request)).unwrap();
    let holds = |needle: &[u8]| record.windows(needle.len()).any(|part| part == needle);
    assert!(holds(b"authorization"));
    assert!(!holds(b"hunter2"));
}

#[test]
fn a_repetitive_body_is_compressed_and_an_encoded_one_is_left_alone() {
    let body = "all work and no play ".repeat(1_000);
    let mut response = response(body.clone());
    assert!(encode_response(&response).unwrap().len() < body.len() / 4);
    response
        .head
        .fields
        .insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
    assert!(encode_response(&response).unwrap().len() > body.len());
}

#[test]
fn a_pointer_comes_back() {
    let names = varying("", "Accept, X-Tenant", &HeaderMap::new()).head.vary;
    let record = Bytes::from(encode_pointer(&names).unwrap());
    assert!(matches!(decode(&record, 0).unwrap(), Record::Pointer(found) if found == names));
}

#[test]
fn what_is_not_a_record_is_told_apart() {
    let record = encode_response(&response("hello")).unwrap();
    let error = |record: Vec<u8>| decode(&Bytes::from(record), ROOM).unwrap_err();
    assert_eq!(error(Vec::new()), DecodeError::Magic);
    assert_eq!(error(b"garbage".to_vec()), DecodeError::Magic);
    assert_eq!(error(b"PNR".to_vec()), DecodeError::Length);
    assert_eq!(
        error([&record[..3], &[9], &record[4..]].concat()),
        DecodeError::Version(9)
    );
    assert_eq!(error([&record[..], b"!"].concat()), DecodeError::Checksum);
    assert_eq!(
        decode(&Bytes::from(record), 4).unwrap_err(),
        DecodeError::TooLarge
    );
}

#[test]
fn a_record_cannot_claim_more_than_it_holds() {
    let bomb = forged(KIND_RESPONSE, BODY_IS_COMPRESSED, [0, 0, 1, 60 << 20], &[0]);
    assert_eq!(decode(&bomb, ROOM).unwrap_err(), DecodeError::Compression);
    let beyond = forged(KIND_RESPONSE, 0, [0, 0, u32::MAX, u32::MAX], &[0]);
    assert_eq!(decode(&beyond, u64::MAX).unwrap_err(), DecodeError::Length);
}

#[test]
fn a_lifetime_nobody_computes_is_refused() {
    let mut response = response("x");
    response.head.freshness.lifetime = Duration::MAX;
    let record = Bytes::from(encode_response(&response).unwrap());
    assert_eq!(decode(&record, ROOM).unwrap_err(), DecodeError::Content);
}

#[test]
fn a_record_s_length_is_known_from_its_beginning() {
    let body: String = (0..20_000).map(|number| format!("{number} ")).collect();
    let record = encode_response(&response(body)).unwrap();
    assert_eq!(length(&record[..HEADER_BYTES], ROOM), Ok(record.len()));
    assert_eq!(length(&record[..9], ROOM), Err(DecodeError::Length));
    assert_eq!(length(b"garbage", ROOM), Err(DecodeError::Magic));
    assert_eq!(length(&record, 4), Err(DecodeError::TooLarge));
    assert!(record.len() <= bytes_max(ROOM));
    let lying = forged(KIND_RESPONSE, 0, [u32::MAX, 0, 1, 1], &[0]);
    assert_eq!(length(&lying, ROOM), Err(DecodeError::TooLarge));
}

#[test]
fn what_frames_a_message_or_speaks_of_a_connection_is_not_taken_from_a_record() {
    let mut original = response("hello");
    for (name, value) in [
        ("connection", "close, x-private, cache-control"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("proxy-connection", "close"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authentication-info", "x"),
        ("x-private", "1"),
        ("content-length", "500"),
        ("content-length", "3"),
        ("cache-control", "max-age=60"),
        ("proxy-status", "origin; rcvd-status=200"),
    ] {
        let value = HeaderValue::from_static(value);
        original.head.fields.append(name, value);
    }
    let decoded = round_trip(&original).head.fields;
    let mut names: Vec<&str> = decoded.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let kept = [
        "cache-control",
        "content-length",
        "content-type",
        "etag",
        "link",
        "proxy-status",
    ];
    assert_eq!(names, kept);
    let lengths: Vec<_> = decoded.get_all(CONTENT_LENGTH).iter().collect();
    assert_eq!(lengths, ["5"]);
}

#[test]
fn a_status_that_no_whole_response_has_is_no_record() {
    let with = |status, body: &'static str| {
        let mut original = response(body);
        original.head.status = StatusCode::from_u16(status).unwrap();
        let record = Bytes::from(encode_response(&original).unwrap());
        decode(&record, ROOM).map(drop)
    };
    for status in [100, 101, 103, 206, 304] {
        assert_eq!(with(status, ""), Err(DecodeError::Content), "{status}");
    }
    for status in [204, 205] {
        assert_eq!(with(status, ""), Ok(()));
        assert_eq!(with(status, "x"), Err(DecodeError::Content), "{status}");
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail_but_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(decode(&Bytes::from(bytes), ROOM).is_err());
    }

    #[test]
    fn any_content_under_a_right_checksum_never_panics(
        kind in 0_u8..4,
        flags in 0_u8..4,
        meta in prop::collection::vec(any::<u8>(), 0..300),
        body in prop::collection::vec(any::<u8>(), 0..300),
        raw in (0_u32..5_000, 0_u32..5_000),
    ) {
        let lengths = [meta.len() as u32, raw.0, body.len() as u32, raw.1];
        let record = forged(kind, flags, lengths, &[meta.clone(), body.clone()].concat());
        let _either = decode(&record, ROOM);
        let lengths = [meta.len() as u32, meta.len() as u32, body.len() as u32, body.len() as u32];
        let record = forged(kind, 0, lengths, &[meta, body].concat());
        let _either = decode(&record, ROOM);
    }

    #[test]
    fn a_truncated_record_is_refused(keep in 0.0..1.0_f64, size in 0_usize..5_000) {
        let record = encode_response(&response("ab".repeat(size))).unwrap();
        let keep = (record.len() as f64 * keep) as usize;
        prop_assert!(decode(&Bytes::from(record[..keep].to_vec()), ROOM).is_err());
    }

    #[test]
    fn a_flipped_bit_is_noticed(at in 0.0..1.0_f64, bit in 0_u32..8, size in 0_usize..5_000) {
        let mut record = encode_response(&response("ab".repeat(size))).unwrap();
        let at = (record.len() as f64 * at) as usize;
        record[at] ^= 1_u8 << bit;
        prop_assert!(decode(&Bytes::from(record), ROOM).is_err());
    }

    #[test]
    fn any_response_comes_back(
        body in prop::collection::vec(any::<u8>(), 0..3_000),
        status in (200_u16..1_000).prop_filter("whole, with a body", |status| {
            ![204, 205, 206, 304].contains(status)
        }),
        path in "[ -~]{0,80}",
        tags in prop::collection::vec("[a-z]{0,9}", 0..9),
        values in prop::collection::vec("[ -~]{0,200}", 0..20),
    ) {
        let mut original = response(body);
        original.head.status = StatusCode::from_u16(status).unwrap();
        original.head.target.path = path.into();
        original.head.tags = tags.into_iter().map(Box::from).collect();
        for value in values {
            original.head.fields.append("x-value", HeaderValue::try_from(value).unwrap());
        }
        assert_same(&round_trip(&original), &original);
    }
}
