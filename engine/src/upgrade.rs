//! An attempt that both sides agree to go on with in another protocol.

use crate::attempt::{Attempt, Attempted};
use crate::course::Ended;
use crate::downstream::{After, Connection};
use crate::exchange::Exchange;
use crate::forward::{self, Persistence};
use crate::relay::Framing;
use crate::tunnel;
use crate::upstream::Lease;

impl Attempt<'_> {
    /// Both sides have agreed to speak something else: from here on bytes are bytes.
    pub(crate) async fn upgrade(
        &self,
        connection: &mut Connection,
        exchange: &mut Exchange,
        mut lease: Lease,
    ) -> Attempted {
        let worker = self.course.worker;
        self.course.chain.on_response(exchange, self.course.passed);
        let mut out = worker.buffers.usual();
        let rules = self.course.rules();
        worker.with_date(|date| {
            let persistence = Persistence::Upgrade;
            let tail = out.tail();
            forward::write_response_head(tail, exchange, rules, Framing::None, persistence, date);
        });
        let mut early_up = worker.buffers.usual();
        early_up.extend(&exchange.request.raw()[exchange.request.taken..]);
        // The head is not of the body: what the log and the counters call sent begins behind it.
        let head = out.len() as u64;
        let mut early_down = out;
        early_down.extend(&exchange.response.raw()[exchange.response.head.len..]);
        exchange.request.taken = exchange.request.raw.len();
        let idle = self.route.tunnel;
        let (client, upstream) = (&mut connection.stream, &mut lease.stream);
        let buffers = &worker.buffers;
        let carried = tunnel::run(client, upstream, early_up, early_down, idle, buffers).await;
        exchange.request.received = carried.up;
        exchange.response.sent = carried.down.saturating_sub(head);
        Attempted::Ended(Ended { status: 101, error: None, after: After::Close })
    }
}
