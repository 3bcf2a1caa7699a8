//! Rooms to serve exchanges in.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use crate::buffer::Buffer;
use crate::downstream::{After, Connection};

/// The future that serves exchanges, one after the other, for whichever connection has one.
pub(crate) struct Room {
    desk: Rc<Desk>,
    work: Pin<Box<dyn Future<Output = Infallible>>>,
}

/// Where a connection is handed into a room and out again.
#[derive(Default)]
pub(crate) struct Desk {
    given: Cell<Option<(Box<Connection>, Buffer)>>,
    done: Cell<Option<Done>>,
}

/// A connection whose exchange is over, and the bytes behind it that belong to the next one.
pub(crate) struct Done {
    pub(crate) connection: Box<Connection>,
    pub(crate) buffer: Buffer,
    pub(crate) after: After,
}

impl Room {
    /// An empty room, in which `work` goes on for ever.
    pub(crate) fn new<W>(work: impl FnOnce(Rc<Desk>) -> W) -> Self
    where
        W: Future<Output = Infallible> + 'static,
    {
        let desk = Rc::<Desk>::default();
        Room { work: Box::pin(work(desk.clone())), desk }
    }

    /// Serves the request that begins in `buffer`.
    pub(crate) async fn serve(&mut self, connection: Box<Connection>, buffer: Buffer) -> Done {
        self.desk.given.set(Some((connection, buffer)));
        poll_fn(|context| {
            let Poll::Pending = self.work.as_mut().poll(context);
            self.desk.done.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Desk {
    /// The next connection to serve.
    pub(crate) async fn next(&self) -> (Box<Connection>, Buffer) {
        poll_fn(|_| self.given.take().map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Hands a connection out.
    pub(crate) fn done(&self, done: Done) {
        self.done.set(Some(done));
    }
}
