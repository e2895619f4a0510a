//! What stands in front of a sandbox: takes connections, cuts requests, and answers in order after the time that a
//! network would take.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::ServerConfig;

use super::requests::Requests;
use crate::net::Stream;
use crate::progress::Progress;

/// An answer that is written when it is due.
pub(crate) struct Answer {
    /// About how long it is.
    pub(crate) bytes: usize,
    pub(crate) write: Write,
}

type Write = Box<dyn FnOnce(&mut Stream) -> io::Result<()> + Send>;

/// The way from a side to its clients.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Way {
    /// A round trip. It does not limit what is on the way.
    pub(crate) delay: Duration,
    /// What all connections together carry, if there is a limit.
    pub(crate) bytes_per_s: Option<f64>,
}

/// What becomes of a request.
pub(crate) enum Taken {
    /// The stub answers it.
    Answer(Answer),
    /// The sandbox does: the whole request without its length.
    Pass(Bytes),
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answer(_) => "Answer",
            Self::Pass(_) => "Pass",
        })
    }
}

/// One side's own answers.
pub(crate) trait Broker: Send + Sync + 'static {
    /// Takes the next request, of `len` bytes, off the stream.
    fn take(&self, requests: &mut Requests, len: usize) -> io::Result<Taken>;

    /// What the sandbox's answer becomes, both without their lengths.
    fn amend(&self, request: &Bytes, answer: Vec<u8>) -> io::Result<Vec<u8>>;
}

struct Shared<B> {
    broker: B,
    behind: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    way: Way,
    /// When the way has carried all that was given to it.
    free_at: Mutex<Instant>,
    progress: Arc<Progress>,
    closed: AtomicBool,
}

impl<B> Shared<B> {
    /// When an answer of so many bytes is there, whose request came at that time.
    fn due(&self, came: Instant, bytes: usize) -> Instant {
        let Some(bytes_per_s) = self.way.bytes_per_s else { return came + self.way.delay };
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = Instant::now().max(*free_at) + Duration::from_secs_f64(bytes as f64 / bytes_per_s);
        *free_at + self.way.delay
    }
}

/// A listener; it ends when this is dropped, and its connections when their clients do.
#[derive(Debug)]
pub(crate) struct Front {
    address: SocketAddr,
    close: CloseHandle,
    accepting: Option<JoinHandle<()>>,
}

struct CloseHandle(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for CloseHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CloseHandle")
    }
}

impl Front {
    pub(crate) fn start<B: Broker>(
        listener: TcpListener,
        behind: SocketAddr,
        broker: B,
        tls: Option<Arc<ServerConfig>>,
        way: Way,
        progress: Arc<Progress>,
    ) -> Self {
        let address = listener.local_addr().expect("a listener has an address");
        let (free_at, closed) = (Mutex::new(Instant::now()), AtomicBool::new(false));
        let shared = Arc::new(Shared { broker, behind, tls, way, free_at, progress, closed });
        let closing = Arc::clone(&shared);
        let close = CloseHandle(Box::new(move || closing.closed.store(true, Ordering::Relaxed)));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.closed.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                if let Ok(stream) = stream {
                    thread::spawn(move || serve(stream, &shared));
                }
            }
        });
        Self { address, close, accepting: Some(accepting) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        (self.close.0)();
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        drop(self.accepting.take().map(JoinHandle::join));
    }
}

/// Ends with the connection: clients come and go, and a killed one resets it.
fn serve<B: Broker>(stream: TcpStream, shared: &Shared<B>) {
    let served = Stream::accepted(stream, shared.tls.as_ref()).and_then(|stream| connection(stream, shared));
    if let Err(error) = served
        && error.kind() == io::ErrorKind::InvalidData
    {
        shared.progress.fail(|| format!("a request that the stubs cannot read: {error}"));
    }
}

fn connection<B: Broker>(stream: Stream, shared: &Shared<B>) -> io::Result<()> {
    let is_slow = shared.way.delay > Duration::ZERO || shared.way.bytes_per_s.is_some();
    let late = if is_slow { Some(Late::start(stream.second()?)) } else { None };
    let mut requests = Requests::new(stream);
    let mut behind = None;
    while let Some(len) = requests.next_len()? {
        let came = Instant::now();
        let answer = match shared.broker.take(&mut requests, len)? {
            Taken::Answer(answer) => answer,
            Taken::Pass(request) => {
                let answer = exchange(&mut behind, shared.behind, &request)?;
                let answer = shared.broker.amend(&request, answer)?;
                let bytes = answer.len();
                let write = move |stream: &mut Stream| {
                    let len = u32::try_from(answer.len()).map_err(io::Error::other)?;
                    stream.write_slices(&mut [io::IoSlice::new(&len.to_be_bytes()), io::IoSlice::new(&answer)])
                };
                Answer { bytes, write: Box::new(write) }
            }
        };
        match &late {
            None => (answer.write)(requests.stream())?,
            Some(late) => {
                let due = shared.due(came, answer.bytes);
                late.0.send((due, answer)).map_err(|_| io::ErrorKind::BrokenPipe)?;
            }
        }
    }
    Ok(())
}

/// Asks the sandbox, as one more client of it.
fn exchange(behind: &mut Option<TcpStream>, address: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let stream = match behind {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            behind.insert(stream)
        }
    };
    let len = u32::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes(), request].concat())?;
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    let mut answer = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Writes answers when they are due; ends with the connection.
struct Late(Sender<(Instant, Answer)>);

impl Late {
    fn start(mut stream: Stream) -> Self {
        let (sender, queue) = channel::<(Instant, Answer)>();
        thread::spawn(move || {
            for (due, answer) in queue {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if (answer.write)(&mut stream).is_err() {
                    return;
                }
            }
        });
        Self(sender)
    }
}
