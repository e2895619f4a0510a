//! The network of one process: pipes to a sandbox's nodes that can be cut all at once, or stand still.
//!
//! A killed process is, to the rest of the world, one whose connections are closed and that opens no others: what it
//! had written before may still be read by the broker. A stopped one neither reads nor writes for a while.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use twinlog_client::{Address, Cluster, Connector, DialConfig, Opening, Side, Stream, Transport};
use twinlog_sandbox::Sandbox;

/// What all connections of a process have in common.
#[derive(Debug, Default)]
struct State {
    killed: AtomicBool,
    stands: AtomicBool,
    /// Hosts that refuse connections.
    unplugged: Mutex<BTreeSet<String>>,
    wakers: Mutex<Vec<Waker>>,
}

impl State {
    fn wake(&self) {
        for waker in self.wakers.lock().unwrap().drain(..) {
            waker.wake();
        }
    }
}

/// The network of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network(Arc<State>);

impl Network {
    /// Closes everything for good.
    pub(crate) fn kill(&self) {
        self.0.killed.store(true, Ordering::Relaxed);
        self.0.wake();
    }

    /// Lets nothing through until it is called with false.
    pub(crate) fn stand(&self, stands: bool) {
        self.0.stands.store(stands, Ordering::Relaxed);
        self.0.wake();
    }

    /// Closes all connections to a node and lets no others be made, until it is called with false.
    pub(crate) fn unplug(&self, sandbox: &Sandbox, node: i32, unplugged: bool) {
        let (host, _) = sandbox.memory_address(node);
        let mut hosts = self.0.unplugged.lock().unwrap();
        if !unplugged {
            hosts.remove(&host);
            return;
        }
        hosts.insert(host);
        for (id, _, _) in sandbox.connections().into_iter().filter(|(_, at, _)| *at == node) {
            sandbox.cut(id);
        }
    }

    /// A client of the sandbox that belongs to this process.
    pub(crate) fn cluster(&self, side: Side, sandbox: &Sandbox, config: DialConfig) -> Cluster {
        let addresses = sandbox.nodes().into_iter().map(|node| {
            let (host, port) = sandbox.memory_address(node);
            Address { host, port }
        });
        let connector = Pipes { network: self.clone(), sandbox: sandbox.clone() };
        let config = DialConfig { transport: Transport::Custom(Arc::new(connector)), ..config };
        Cluster::new(side, addresses.collect(), config).unwrap()
    }
}

/// Opens pipes to a sandbox.
struct Pipes {
    network: Network,
    sandbox: Sandbox,
}

impl fmt::Debug for Pipes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipes")
    }
}

impl Connector for Pipes {
    fn open<'a>(&'a self, address: &'a Address) -> Opening<'a> {
        Box::pin(async move {
            let unplugged = self.network.0.unplugged.lock().unwrap().contains(&address.host);
            if unplugged || self.network.0.killed.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let opened = self.sandbox.connect_to(&address.host, address.port);
            let opened = opened.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            let pipe = Pipe { stream: Some(opened.stream), network: self.network.clone() };
            Ok(Box::new(pipe) as Box<dyn Stream>)
        })
    }
}

/// One connection.
struct Pipe {
    /// None when the process is dead: dropped, so that the broker sees the end.
    stream: Option<DuplexStream>,
    network: Network,
}

impl Pipe {
    fn open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut DuplexStream>>> {
        let state = &self.network.0;
        if state.killed.load(Ordering::Relaxed) {
            self.stream = None;
        } else {
            // A kill must be seen by streams that wait for bytes, too.
            let mut wakers = state.wakers.lock().unwrap();
            if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                wakers.push(context.waker().clone());
            }
            if state.stands.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
        }
        match &mut self.stream {
            Some(stream) => Poll::Ready(Ok(Pin::new(stream))),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.get_mut().open(cx))?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.get_mut().open(cx))?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.get_mut().open(cx))?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.get_mut().open(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.get_mut().open(cx))?.poll_shutdown(cx)
    }
}
