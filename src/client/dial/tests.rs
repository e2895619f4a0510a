use tokio::net::TcpListener;
use twinlog_wire::error_code::Retry;

use super::*;
use crate::testing::Script;
use twinlog_core::report::Side;

fn peer(address: &Address) -> Peer {
    Peer { side: Side::Target, node: None, address: address.to_string().into() }
}

fn dialer(config: DialConfig) -> Dialer {
    Dialer::new(config).unwrap()
}

async fn listen() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_refused_dial_says_where_and_what_to_look_at() {
    let (listener, address) = listen().await;
    drop(listener);
    let error = dialer(DialConfig::default()).dial(&address, peer(&address)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("target {address}: connection refused (Connect); is the broker up and the address right?")
    );
    assert_eq!((error.outcome(), error.retry()), (Outcome::NotSent, Retry::AfterMetadata));
}

#[tokio::test]
async fn a_host_name_without_address_is_named() {
    let address: Address = "no-such-host.invalid:9092".parse().unwrap();
    let error = dialer(DialConfig::default()).dial(&address, peer(&address)).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Lookup(_)), "{error}");
    assert!(error.to_string().starts_with("target no-such-host.invalid:9092: cannot look up"), "{error}");
}

#[tokio::test]
async fn options_are_set_and_the_connection_works() {
    let (listener, address) = listen().await;
    let config = DialConfig { send_buffer: Some(1 << 16), receive_buffer: Some(1 << 16), ..Default::default() };
    let dialer = dialer(config);
    let broker = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut script = Script { stream };
        script.greet().await;
        script
    };
    let (connection, _script) = tokio::join!(dialer.dial(&address, peer(&address)), broker);
    assert!(!connection.unwrap().is_closed());
    let peer = peer(&address);
    let (stream, _) = tokio::join!(dialer.connect(&address, &peer), listener.accept());
    let stream = stream.unwrap();
    assert!(stream.nodelay().unwrap());
    let options = SockRef::from(&stream);
    assert!(options.keepalive().unwrap());
    assert_eq!(options.tcp_keepalive_time().unwrap(), dialer.config.keepalive);
    // Linux doubles what is asked for.
    assert!((1 << 16..=1 << 17).contains(&options.recv_buffer_size().unwrap()));
    #[cfg(target_os = "linux")]
    assert_eq!(options.tcp_user_timeout().unwrap(), dialer.config.user_timeout);
}

#[tokio::test]
async fn a_broker_that_hangs_up_during_the_greeting_is_an_error() {
    let (listener, address) = listen().await;
    let dialer = dialer(DialConfig::default());
    let broker = async {
        let (stream, _) = listener.accept().await.unwrap();
        drop(Script { stream }.request().await);
    };
    let (connection, ()) = tokio::join!(dialer.dial(&address, peer(&address)), broker);
    let error = connection.unwrap_err();
    assert!(matches!(error.cause(), Cause::ClosedByPeer), "{error}");
    assert!(error.to_string().contains("(ApiVersions)"), "{error}");
}

/// Opens one pipe, and nothing after that.
#[derive(Debug)]
struct OnePipe(std::sync::Mutex<Option<tokio::io::DuplexStream>>);

impl Connector for OnePipe {
    fn open<'a>(&'a self, address: &'a Address) -> crate::Opening<'a> {
        assert_eq!(address.to_string(), "node-1:9092");
        let pipe = self.0.lock().unwrap().take();
        Box::pin(async move {
            match pipe {
                Some(pipe) => Ok(Box::new(pipe) as Box<dyn Stream>),
                None => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }
}

#[tokio::test]
async fn another_transport_is_asked_instead_of_tcp() {
    let (near, far) = tokio::io::duplex(7);
    let connector = Arc::new(OnePipe(std::sync::Mutex::new(Some(near))));
    let dialer = dialer(DialConfig { transport: Transport::Custom(connector), ..Default::default() });
    let address: Address = "node-1:9092".parse().unwrap();
    let broker = async {
        let mut script = Script { stream: far };
        script.greet().await;
        script
    };
    let (connection, _script) = tokio::join!(dialer.dial(&address, peer(&address)), broker);
    assert!(!connection.unwrap().is_closed());
    let error = dialer.dial(&address, peer(&address)).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Refused), "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent);
}

#[test]
fn addresses_are_read_and_written() {
    for (text, host, port) in [("a.b:1", "a.b", 1), ("10.0.0.1:9092", "10.0.0.1", 9092), ("[::1]:9092", "::1", 9092)] {
        let address: Address = text.parse().unwrap();
        assert_eq!((address.host.as_str(), address.port), (host, port));
        assert_eq!(address.to_string(), text);
    }
    for text in ["", "a", "a:", ":1", "a:65536", "::1:9092", "a:b:1", "a:-1"] {
        assert_eq!(text.parse::<Address>(), Err(AddressError(text.into())), "{text}");
    }
}
