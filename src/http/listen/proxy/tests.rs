//! Headers as the specification has them, cut and bent at every byte.

use proptest::prelude::*;

use super::*;

fn v1(line: &str) -> Begins {
    parse(line.as_bytes())
}

fn v2(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[version_command, family], &length, rest].concat()
}

fn names(client: &str, bytes: usize) -> Begins {
    let client = (!client.is_empty()).then(|| client.parse().expect("an address"));
    Begins::Header(Header { client, bytes })
}

#[test]
fn the_examples_of_the_specification_are_read() {
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    let client = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    assert_eq!(v1(longest), names(client, longest.len()));
    let tcp4 = "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
    assert_eq!(v1(tcp4), names("255.255.255.255:65535", tcp4.len()));
    let unknown = "PROXY UNKNOWN\r\n";
    assert_eq!(v1(unknown), names("", unknown.len()));
    let unknown = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!((v1(unknown), unknown.len()), (names("", V1_BYTES_MAX), V1_BYTES_MAX));
    let then = format!("{tcp4}GET / HTTP/1.1\r\n");
    assert_eq!(v1(&then), names("255.255.255.255:65535", tcp4.len()));
}

#[test]
fn a_line_that_is_not_exactly_so_is_none() {
    for wrong in [
        "GET / HTTP/1.1\r\n",
        "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY\r\n",
        "PROXY TCP4\r\n",
        "PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
        "PROXY TCP4 ::1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 ::1 1 2\r\n",
        "PROXY TCP6 1.1.1.1 ::1 1 2\r\n",
        "PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 \r\n",
    ] {
        assert!(matches!(v1(wrong), Begins::Otherwise(_)), "{wrong}: {:?}", v1(wrong));
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
    assert!(matches!(v1(&endless), Begins::Otherwise(_)));
    assert_eq!(v1(&endless[..V1_BYTES_MAX - 1]), Begins::Inside);
}

#[test]
fn version_2_names_who_comes_over_tcp_and_nobody_else() {
    let four = [198, 51, 100, 7, 192, 0, 2, 1, 0x11, 0x5c, 0, 80];
    let six: Vec<u8> = "2001:db8::7"
        .parse::<Ipv6Addr>()
        .expect("one")
        .octets()
        .into_iter()
        .chain([0; 16])
        .chain([0, 80, 1, 187])
        .collect();
    assert_eq!(parse(&v2(0x21, 0x11, &four)), names("198.51.100.7:4444", 28));
    assert_eq!(parse(&v2(0x21, 0x21, &six)), names("[2001:db8::7]:80", 52));
    for (command, family) in [
        (0x20, 0x00),
        (0x20, 0x11),
        (0x20, 0xff),
        (0x21, 0x00),
        (0x21, 0x12),
        (0x21, 0x22),
        (0x21, 0x31),
        (0x21, 0x32),
    ] {
        assert_eq!(parse(&v2(command, family, &four)), names("", 28), "{command:x} {family:x}");
    }
    for (command, family, rest) in [
        (0x11, 0x11, &four[..]),
        (0x31, 0x11, &four),
        (0x22, 0x11, &four),
        (0x21, 0x10, &four),
        (0x21, 0x41, &four),
        (0x21, 0x11, &four[..11]),
        (0x21, 0x21, &six[..35]),
    ] {
        let parsed = parse(&v2(command, family, rest));
        assert!(matches!(parsed, Begins::Otherwise(_)), "{command:x} {family:x}: {parsed:?}");
    }
    let long = v2(0x21, 0x11, &vec![0; PROXY_HEADER_BYTES_MAX + 1]);
    assert!(matches!(parse(&long), Begins::Otherwise(_)));
}

fn header() -> impl Strategy<Value = (Vec<u8>, Option<SocketAddr>)> {
    let address = || any::<SocketAddr>().prop_map(|a| SocketAddr::new(a.ip(), a.port()));
    let line = (address(), any::<u16>()).prop_map(|(client, port)| {
        let (tcp, own) = if client.is_ipv4() { ("TCP4", "192.0.2.1") } else { ("TCP6", "::1") };
        let (ip, from) = (client.ip(), client.port());
        (format!("PROXY {tcp} {ip} {own} {from} {port}\r\n").into_bytes(), Some(client))
    });
    let extensions = || prop::collection::vec(any::<u8>(), 0..600);
    let binary = (address(), extensions()).prop_map(|(client, extensions)| {
        let (mut rest, family) = match client.ip() {
            IpAddr::V4(v4) => ([v4.octets(), [1; 4]].concat(), 0x11),
            IpAddr::V6(v6) => ([v6.octets(), [1; 16]].concat(), 0x21),
        };
        rest.extend(client.port().to_be_bytes());
        rest.extend([0, 80]);
        rest.extend(extensions);
        (v2(0x21, family, &rest), Some(client))
    });
    let local = extensions().prop_map(|rest| (v2(0x20, 0, &rest), None));
    prop_oneof![line, binary, local]
}

proptest! {
    #[test]
    fn a_header_is_known_at_any_cut_and_never_takes_a_byte_that_is_not_its_own(
        (header, client) in header(),
        then in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let is = Begins::Header(Header { client, bytes: header.len() });
        let mut known = false;
        for cut in 1..=header.len() {
            match parse(&header[..cut]) {
                Begins::Inside => prop_assert!(!known),
                found => {
                    prop_assert_eq!(found, is);
                    known = true;
                }
            }
        }
        prop_assert!(known);
        prop_assert_eq!(parse(&[&header[..], &then].concat()), is);
    }

    #[test]
    fn whatever_comes_is_a_header_or_is_not(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        begins in 0usize..3,
    ) {
        let begins = [&b""[..], SIGNATURE, V1_BEGINS][begins];
        let bytes = [begins, &bytes].concat();
        if let Begins::Header(header) = parse(&bytes) {
            prop_assert!(header.bytes <= FIXED + PROXY_HEADER_BYTES_MAX);
        }
    }
}

#[tokio::test]
async fn a_header_is_taken_off_a_socket_byte_by_byte_and_what_follows_is_left() {
    use tokio::io::AsyncWriteExt;
    let extended =
        v2(0x21, 0x11, &[&[198, 51, 100, 7, 192, 0, 2, 1, 0, 1, 0, 80], &[7; 5000][..]].concat());
    let line = b"PROXY TCP4 198.51.100.7 192.0.2.1 1 80\r\n".to_vec();
    for header in [extended, line] {
        for piece in [1, 7, 100_000] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound");
            let mut proxy = TcpStream::connect(address).await.expect("connect");
            let (mut socket, _) = listener.accept().await.expect("it comes");
            let sent = [&header[..], b"GET"].concat();
            let writing = tokio::spawn(async move {
                for part in sent.chunks(piece) {
                    proxy.write_all(part).await.expect("sent");
                    proxy.flush().await.expect("sent");
                    tokio::task::yield_now().await;
                }
                proxy
            });
            let client = read(&mut socket).await.expect("a header");
            assert_eq!(client, Some("198.51.100.7:1".parse().expect("an address")));
            let mut next = [0; 3];
            socket.read_exact(&mut next).await.expect("what follows");
            assert_eq!(&next, b"GET");
            drop(writing.await.expect("it does not panic"));
        }
    }
}
