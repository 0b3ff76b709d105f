//! The PROXY protocol, versions 1 and 2: before anything else, a proxy in front
//! says on a connection whose it is
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! A pure reader of bytes: it says who a connection is from, that more bytes are
//! needed, or that this is no header. It is strict, since both ends are of one
//! site, and a client that could be read in two ways would be somebody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a header of version 1 with its CRLF, at most.
const V1_BYTES_MAX: usize = 107;
/// How a header of version 1 begins.
const V1_START: &[u8] = b"PROXY ";
/// How one of version 2 begins.
const V2_START: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What follows that: version and command, family and protocol, a length.
const V2_HEAD_BYTES: usize = 16;
/// Bytes of a whole header of version 2; extensions (TLV) are passed over, but
/// no more of them than that.
pub(super) const V2_BYTES_MAX: usize = 4 * 1024;

/// What the bytes that were read so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The beginning of a header.
    More,
    /// A header of so many bytes: the connection is from that address, or, where
    /// there is none, from the socket's peer itself.
    Header(usize, Option<SocketAddr>),
    /// No header.
    Nothing,
}

/// Looks for a header at the beginning of `bytes`.
pub(super) fn find(bytes: &[u8]) -> Found {
    let begins = |start: &[u8]| {
        let known = bytes.len().min(start.len());
        bytes[..known] == start[..known]
    };
    if begins(V2_START) {
        version_2(bytes)
    } else if begins(V1_START) {
        version_1(bytes)
    } else {
        Found::Nothing
    }
}

fn version_1(bytes: &[u8]) -> Found {
    let within = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(line_feed) = memchr::memchr(b'\n', within) else {
        return if within.len() < V1_BYTES_MAX {
            Found::More
        } else {
            Found::Nothing
        };
    };
    let line = std::str::from_utf8(&within[..line_feed]).ok();
    let line = line.and_then(|line| line.strip_suffix('\r'));
    let source = line.and_then(source_of_line);
    source.map_or(Found::Nothing, |source| {
        Found::Header(line_feed + 1, source)
    })
}

/// The source of `PROXY TCP4 source destination port port`.
fn source_of_line(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    let is_ours = words.next() == Some("PROXY");
    let is_v4 = match words.next()? {
        // Whatever follows is to be passed over.
        "UNKNOWN" => return is_ours.then_some(None),
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let mut address = || -> Option<IpAddr> {
        let address: IpAddr = words.next()?.parse().ok()?;
        (address.is_ipv4() == is_v4).then_some(address)
    };
    let (source, _destination) = (address()?, address()?);
    let (port, _of_destination) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then_some(())?;
    is_ours.then_some(Some(SocketAddr::new(source, port)))
}

fn port(digits: &str) -> Option<u16> {
    let is_canonical = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    is_canonical.then(|| digits.parse().ok()).flatten()
}

fn version_2(bytes: &[u8]) -> Found {
    let Some((head, rest)) = bytes.split_at_checked(V2_HEAD_BYTES) else {
        return Found::More;
    };
    let (command, family) = (head[12], head[13]);
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if V2_HEAD_BYTES + length > V2_BYTES_MAX {
        return Found::Nothing;
    }
    let addresses_length = match family {
        0x11 => 12,
        0x21 => 36,
        _ => 0,
    };
    let is_said = match command {
        // PROXY: the families are those of TCP over IPv4 and IPv6. Of others
        // (UNSPEC, UNIX, datagrams) the socket's peer is all that is known.
        0x21 => matches!(family, 0x11 | 0x21),
        // LOCAL: the proxy speaks for itself, to look whether we are well.
        0x20 => false,
        _ => return Found::Nothing,
    };
    if is_said && length < addresses_length {
        return Found::Nothing;
    }
    let Some(body) = rest.get(..length) else {
        return Found::More;
    };
    let source = is_said.then(|| source_of(body, family)).flatten();
    Found::Header(V2_HEAD_BYTES + length, source)
}

/// The source of a block of addresses: source, destination, and their ports.
fn source_of(block: &[u8], family: u8) -> Option<SocketAddr> {
    let port_at = |at: usize| {
        let port = block.get(at..at + 2)?;
        Some(u16::from_be_bytes([port[0], port[1]]))
    };
    if family == 0x11 {
        let (address, _) = block.split_first_chunk::<4>()?;
        Some(SocketAddr::new(
            Ipv4Addr::from(*address).into(),
            port_at(8)?,
        ))
    } else {
        let (address, _) = block.split_first_chunk::<16>()?;
        Some(SocketAddr::new(
            Ipv6Addr::from(*address).into(),
            port_at(32)?,
        ))
    }
}

/// What holds of any bytes, for tests that only see what is public.
///
/// # Panics
/// Where it does not hold.
#[doc(hidden)]
pub fn check(bytes: &[u8]) {
    let found = find(bytes);
    match found {
        Found::Header(length, _) => {
            assert!(length <= bytes.len() && length <= V2_BYTES_MAX);
            // Nothing behind it was looked at, and nothing of it was needless.
            assert_eq!(find(&bytes[..length]), found);
            assert_eq!(find(&bytes[..length - 1]), Found::More);
        }
        Found::More => assert!(bytes.len() < V2_BYTES_MAX),
        Found::Nothing => {
            let mut longer = bytes.to_vec();
            longer.push(b'\n');
            assert_eq!(find(&longer), Found::Nothing);
        }
    }
    for length in 0..bytes.len().min(V2_BYTES_MAX) {
        let of_less = find(&bytes[..length]);
        assert!(of_less == Found::More || of_less == found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = V2_START.to_vec();
        bytes.extend([command, family]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

    #[test]
    fn who_a_connection_is_from_is_read() {
        let v6 = {
            let mut block = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets().to_vec();
            block.extend([0; 16]);
            block.extend([0, 9, 0, 80]);
            block
        };
        let with_extensions = [&V4[..], &[0x04, 0, 2, 0, 0]].concat();
        let unix = [0; 216];
        for (bytes, source) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(),
                Some("192.0.2.7:4660"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 9 80\r\n".to_vec(),
                Some("[2001:db8::7]:9"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN what ever it says\r\n".to_vec(), None),
            (v2(0x21, 0x11, 12, &V4), Some("192.0.2.7:4660")),
            (v2(0x21, 0x11, 17, &with_extensions), Some("192.0.2.7:4660")),
            (v2(0x21, 0x21, 36, &v6), Some("[2001:db8::7]:9")),
            (v2(0x20, 0x00, 0, &[]), None),
            (v2(0x20, 0x11, 12, &V4), None),
            (v2(0x21, 0x00, 3, &[1, 2, 3]), None),
            (v2(0x21, 0x31, 216, &unix), None),
            (v2(0x21, 0x12, 12, &V4), None),
        ] {
            let source = source.map(|source| source.parse().unwrap());
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(find(&bytes), Found::Header(bytes.len(), source), "{text}");
            let followed = [&bytes[..], b"GET / HTTP/1.1"].concat();
            assert_eq!(
                find(&followed),
                Found::Header(bytes.len(), source),
                "{text}"
            );
            check(&followed);
        }
    }

    #[test]
    fn what_is_no_header_is_seen_as_soon_as_can_be() {
        let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"proxy ".to_vec(),
            b"PROXY\t".to_vec(),
            b"\r\n\r\n\0\r\nQUIX".to_vec(),
            b"\x16\x03\x01".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 80\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 80 \r\n".to_vec(),
            b"PROXY TCP4  192.0.2.7 10.0.0.1 1 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.07 10.0.0.1 1 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 01 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1  80\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 80\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.7 10.0.0.1 1 80\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 80\r\n".to_vec(),
            b"PROXY TCP4 \xff 10.0.0.1 1 80\r\n".to_vec(),
            b"PROXY \r\n".to_vec(),
            long,
            v2(0x11, 0x11, 12, &V4),
            v2(0x22, 0x11, 12, &V4),
            v2(0x21, 0x11, 11, &V4),
            v2(0x21, 0x21, 35, &[]),
            v2(0x21, 0x11, 4_081, &V4),
            v2(0x20, 0x00, u16::MAX, &[]),
        ] {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(find(&bytes), Found::Nothing, "{text}");
            check(&bytes);
        }
        assert_eq!(find(b""), Found::More);
        assert_eq!(find(b"\r\n\r\n"), Found::More);
        assert_eq!(find(&v2(0x21, 0x11, 4_080, &V4)), Found::More);
    }
}
