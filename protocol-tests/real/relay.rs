//! A TCP relay in front of a broker that loses answers (it hands a Produce request on and cuts the connection before
//! the answer comes back), or everything, as a network that is cut, or makes the way long.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// The API key of Produce.
const PRODUCE: [u8; 2] = [0, 0];

/// The relay. Its threads end with its connections, and with the test process.
pub(crate) struct Relay {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    broker: OnceLock<SocketAddr>,
    /// Every so many Produce requests one is cut; 0 for none.
    every: AtomicU64,
    requests: AtomicU64,
    cuts: AtomicU64,
    /// Odd while the network is cut. What a connection of an earlier number has to say is lost.
    network: AtomicU64,
    /// What an answer takes, in ms.
    way_ms: AtomicU64,
    /// Bytes of answers.
    answered: AtomicU64,
}

impl Relay {
    /// Listens on a free port. Connections wait until the broker is known.
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let accepted = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepted);
                thread::spawn(move || {
                    // The other end sees the same as here: a connection that is closed.
                    drop(relay(stream, &shared));
                });
            }
        });
        Self { port, shared }
    }

    /// Where clients find it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port of it.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where it leads to.
    pub(crate) fn lead_to(&self, broker: SocketAddr) {
        self.shared.broker.get_or_init(|| broker);
    }

    /// From now on, the answer of every so many Produce requests is lost with its connection; 0: none.
    pub(crate) fn lose_answers(&self, every: u64) {
        self.shared.every.store(every, Ordering::Relaxed);
    }

    /// Cuts the network, and mends it. Nothing is closed when it is cut and nothing gets through, in either direction
    /// and not later either; a connection from before ends with the first byte after it was mended.
    pub(crate) fn cut(&self, is_cut: bool) {
        let now = self.shared.network.load(Ordering::SeqCst);
        self.shared.network.store(now + u64::from((now % 2 == 1) != is_cut), Ordering::SeqCst);
    }

    /// From now on answers take so long, however many are on the way.
    pub(crate) fn lengthen(&self, way: Duration) {
        self.shared.way_ms.store(u64::try_from(way.as_millis()).expect("a short time"), Ordering::Relaxed);
    }

    /// Bytes of answers so far.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// How many answers were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

fn relay(client: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let Some(broker) = shared.broker.get() else { return Ok(()) };
    let network = shared.network.load(Ordering::SeqCst);
    let broker = TcpStream::connect(broker)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let swallow = Arc::new(AtomicBool::new(false));
    let answers = {
        let (mut from, to, swallow) = (broker.try_clone()?, client.try_clone()?, Arc::clone(&swallow));
        let (shared, passing) = (Arc::clone(shared), Arc::clone(shared));
        thread::spawn(move || {
            let (late, due) = channel();
            let read = thread::spawn(move || {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    let way = Duration::from_millis(shared.way_ms.load(Ordering::Relaxed));
                    if late.send((Instant::now() + way, buffer[..count].to_vec())).is_err() {
                        break;
                    }
                }
                close(&from);
            });
            hand_on(&due, &to, &passing, network, &swallow);
            drop(due);
            close(&to);
            drop(read.join());
        })
    };
    let ended = requests(&client, &broker, shared, network, &swallow);
    if ended.is_err() || !swallow.load(Ordering::SeqCst) {
        close(&broker);
        close(&client);
    }
    drop(answers.join());
    ended
}

/// Hands answers on when they are due, until one is not to get through.
fn hand_on(
    due: &Receiver<(Instant, Vec<u8>)>,
    mut to: &TcpStream,
    shared: &Shared,
    network: u64,
    swallow: &AtomicBool,
) {
    for (at, bytes) in due {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        match shared.passes(network) {
            // With the first byte of the lost answer the request was carried out.
            Passes::Yes if swallow.load(Ordering::SeqCst) || to.write_all(&bytes).is_err() => return,
            Passes::Never => return,
            Passes::Yes => {
                shared.answered.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Passes::NotNow => {}
        }
    }
}

/// Hands requests on until the client is through or an answer is to be lost.
fn requests(
    mut client: &TcpStream,
    mut broker: &TcpStream,
    shared: &Shared,
    network: u64,
    swallow: &AtomicBool,
) -> io::Result<()> {
    loop {
        let mut head = [0; 6];
        client.read_exact(&mut head)?;
        let length = u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
        match shared.passes(network) {
            Passes::Yes => {}
            Passes::NotNow => {
                io::copy(&mut client.take(length.saturating_sub(2)), &mut io::sink())?;
                continue;
            }
            Passes::Never => return Ok(()),
        }
        let cut = [head[4], head[5]] == PRODUCE && shared.is_unlucky();
        if cut {
            // Answers of earlier requests are lost with it, as when a network breaks.
            swallow.store(true, Ordering::SeqCst);
        }
        broker.write_all(&head)?;
        io::copy(&mut client.take(length.saturating_sub(2)), &mut broker)?;
        if cut {
            return Ok(());
        }
    }
}

/// Whether a connection's bytes get through.
enum Passes {
    Yes,
    /// The network is cut.
    NotNow,
    /// It was cut since the connection was made, and something may be missing.
    Never,
}

impl Shared {
    /// For a connection that was made when the network had this number.
    fn passes(&self, network: u64) -> Passes {
        match self.network.load(Ordering::SeqCst) {
            now if now % 2 == 1 => Passes::NotNow,
            now if now == network => Passes::Yes,
            _ => Passes::Never,
        }
    }

    fn is_unlucky(&self) -> bool {
        let every = self.every.load(Ordering::Relaxed);
        let unlucky = every > 0 && self.requests.fetch_add(1, Ordering::Relaxed) % every == every - 1;
        if unlucky {
            self.cuts.fetch_add(1, Ordering::Relaxed);
        }
        unlucky
    }
}

fn close(stream: &TcpStream) {
    // It may be closed already.
    drop(stream.shutdown(Shutdown::Both));
}
