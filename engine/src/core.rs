//! What a core offers its filters beside the exchange: its number, a place for work beside the
//! exchanges, and threads that may block.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::call::{Call, Called};
use crate::compute::{Done, Pool, Task};
use crate::error::{Error, UpstreamError};
use crate::filter::{Core, Job, Waiting};
use crate::log::{Journal, Journals, Output};
use crate::shared::Shared;

/// Takes the result of a job back to the core that asked, from any thread.
pub(crate) type Post = Shared<dyn Fn(u64, Done) + Send + Sync>;

/// One core, as its filters see it.
pub(crate) struct LiveCore {
    pub(crate) id: usize,
    pub(crate) count: usize,
    pub(crate) spawn: fn(Waiting<()>),
    pub(crate) pool: Pool,
    pub(crate) post: Post,
    pub(crate) jobs: Rc<Jobs>,
    pub(crate) journals: Rc<Journals>,
    pub(crate) caller: Rc<OnceCell<Caller>>,
}

/// Makes the calls of filters. Set once the worker is there that it makes them from.
pub(crate) type Caller = Box<dyn Fn(Call) -> Waiting<Result<Called, Error>>>;

/// The jobs that a core waits for, by number.
#[derive(Default)]
pub(crate) struct Jobs {
    waiting: RefCell<HashMap<u64, State>>,
    next: Cell<u64>,
}

enum State {
    Waiting(Option<Waker>),
    Done(Done),
}

impl Jobs {
    /// A job came to its end; nothing happens when nobody waits for it any more.
    pub(crate) fn done(&self, number: u64, done: Done) {
        if let Some(state) = self.waiting.borrow_mut().get_mut(&number)
            && let State::Waiting(Some(waker)) = std::mem::replace(state, State::Done(done))
        {
            waker.wake();
        }
    }

    fn begin(&self) -> u64 {
        let number = self.next.replace(self.next.get() + 1);
        self.waiting.borrow_mut().insert(number, State::Waiting(None));
        number
    }
}

/// Waits for one job; forgets it when dropped.
struct Wait {
    jobs: Rc<Jobs>,
    number: u64,
}

impl Future for Wait {
    type Output = Option<Box<dyn Any + Send>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waiting = self.jobs.waiting.borrow_mut();
        match waiting.remove(&self.number) {
            Some(State::Done(done)) => Poll::Ready(done),
            Some(State::Waiting(_)) => {
                let waker = Some(context.waker().clone());
                waiting.insert(self.number, State::Waiting(waker));
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.jobs.waiting.borrow_mut().remove(&self.number);
    }
}

impl Core for LiveCore {
    fn id(&self) -> usize {
        self.id
    }

    fn count(&self) -> usize {
        self.count
    }

    fn spawn(&self, work: Waiting<()>) {
        (self.spawn)(work);
    }

    fn compute(&self, job: Job) -> Waiting<Option<Box<dyn Any + Send>>> {
        let number = self.jobs.begin();
        let wait = Wait { jobs: self.jobs.clone(), number };
        let post = self.post.clone();
        let reply = Box::new(move |done| post(number, done));
        if !self.pool.give(Task { job, reply }) {
            self.jobs.done(number, None);
        }
        Box::pin(wait)
    }

    fn call(&self, call: Call) -> Waiting<Result<Called, Error>> {
        match self.caller.get() {
            Some(caller) => caller(call),
            None => Box::pin(std::future::ready(Err(UpstreamError::NoEndpoint.into()))),
        }
    }

    fn journal(&self, output: &Output) -> Rc<Journal> {
        self.journals.open(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::compute;
    use std::pin::pin;

    fn core(posted: &Shared<crossbeam_channel::Sender<(u64, Done)>>) -> LiveCore {
        let sender = posted.clone();
        let post: Box<dyn Fn(u64, Done) + Send + Sync> =
            Box::new(move |number, done| sender.send((number, done)).unwrap());
        let pool = Pool::start().unwrap();
        let (post, jobs) = (post.into(), Rc::default());
        let journals = Rc::new(Journals::new(Shared::default(), 0));
        let caller = Rc::default();
        LiveCore { id: 0, count: 1, spawn: |_| {}, pool, post, jobs, journals, caller }
    }

    #[test]
    fn a_job_is_done_elsewhere_and_its_result_comes_back() {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let core = core(&Shared::new(sender));
        let here = std::thread::current().id();
        let mut wait = pin!(compute(&core, move || std::thread::current().id() != here));
        let mut context = Context::from_waker(Waker::noop());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        let (number, done) = receiver.recv().unwrap();
        core.jobs.done(number, done);
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(Some(true)));
        assert!(core.jobs.waiting.borrow().is_empty());
    }

    #[test]
    fn a_job_that_panics_has_no_result_and_nobody_waits_for_ever() {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let core = core(&Shared::new(sender));
        let mut wait = pin!(compute(&core, || -> u8 { panic!("a bug") }));
        let mut context = Context::from_waker(Waker::noop());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        let (number, done) = receiver.recv().unwrap();
        core.jobs.done(number, done);
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(None));
    }
}
