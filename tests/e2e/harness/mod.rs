//! What every scene is made of: an origin, a gateway, a client.

mod browser;
mod client;
mod gateway;
mod origin;
mod wire;

pub(crate) use browser::Browser;
pub(crate) use client::{Client, chunked, draw};
pub(crate) use gateway::{Driver, End, Gateway, RINGWAY, dedent, eventually, forward_route};
pub(crate) use origin::{Deaf, Gate, Origin, SWITCH, ok, refusing};
pub(crate) use wire::{BOUND, Framing, Request, Response};

/// Makes of each scene a test on io_uring and one on epoll: `scene::io_uring`, `scene::epoll`.
macro_rules! scenes {
    ($($scene:ident),+ $(,)?) => {$(
        mod $scene {
            use crate::harness::Driver;

            #[test]
            fn io_uring() {
                super::$scene(Driver::IoUring);
            }

            #[test]
            fn epoll() {
                super::$scene(Driver::Epoll);
            }
        }
    )+};
}
pub(crate) use scenes;

/// The origins and the client against each other, before a gateway stands between them.
mod straight {
    use super::{Client, Framing, Origin, chunked, ok};

    #[test]
    fn echo_tells_what_it_received() {
        let origin = Origin::echo();
        let mut client = Client::connect(origin.address);
        let answer = client.get("/a?b=c").expect(200).json();
        assert_eq!(answer["target"], "/a?b=c");
        let answer = client.send_bytewise(chunked("/", &["ab", "c"], &["X: y"])).answer().json();
        assert_eq!((&answer["body"], &answer["trailers"][0][1]), (&"abc".into(), &"y".into()));
        assert_eq!((origin.connections(), origin.requests().len()), (1, 2));
    }

    #[test]
    fn a_script_has_the_connection_to_itself() {
        let origin = Origin::script(|connection| {
            connection.request()?;
            connection.write("HTTP/1.1 200 OK\r\n\r\nuntil close")
        });
        let mut client = Client::connect(origin.address);
        let answer = client.send_split("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 7).answer();
        assert_eq!((answer.framing, answer.text().as_str()), (Framing::UntilClose, "until close"));
        origin.await_ended(1);
    }

    #[test]
    fn a_reset_is_seen_as_one() {
        let origin = Origin::script(|connection| {
            connection.request()?;
            connection.write(&ok("hello")[..40])?;
            connection.reset();
            Ok(())
        });
        let mut client = Client::connect(origin.address);
        client.request("GET", "/", &[]);
        assert!(client.answer_or_end().is_none());
    }
}
