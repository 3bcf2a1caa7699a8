use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use socket2::{Domain, SockAddr, Socket, Type};

use super::*;
use crate::limits::LOG_PATIENCE;

/// Writes records of the form `N\n` until `count` have been taken or dropped; flushes each.
fn write(journal: &Journal, records: std::ops::Range<u64>) {
    for number in records {
        journal.write(
            |out| out.extend_from_slice(format!("{number}\n").as_bytes()),
            |out, dropped| out.extend_from_slice(format!("dropped {dropped}\n").as_bytes()),
        );
        journal.flush();
    }
}

fn file(path: &Path) -> Output {
    Output::File(path.to_owned())
}

#[test]
fn what_is_handed_over_is_written_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let logs = Logs::default();
    let journal = logs.journal(&file(&path), 0);
    write(&journal, 0..1000);
    let dropped = journal.counts.dropped.get();
    logs.finish(LOG_PATIENCE);
    let text = fs::read_to_string(&path).unwrap();
    let records = text.lines().filter(|line| !line.starts_with("dropped")).count() as u64;
    assert_eq!(records + dropped, 1000);
    assert_eq!(logs.list()[0].written, records);
}

#[test]
fn a_renamed_file_is_opened_anew_and_no_line_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
    let logs = Logs::default();
    let journal = logs.journal(&file(&path), 0);
    write(&journal, 0..100);
    wait(|| fs::metadata(&path).is_ok());
    fs::rename(&path, &old).unwrap();
    logs.reopen();
    write(&journal, 100..200);
    logs.finish(LOG_PATIENCE);
    let text = [fs::read_to_string(&old).unwrap(), fs::read_to_string(&path).unwrap()].concat();
    let expected: String = (0..200).map(|number| format!("{number}\n")).collect();
    assert_eq!(text, expected);
}

/// What the old file has no room for begins the new one, with a whole line: a pipe that nobody
/// empties takes a part of a batch as a disk does that fills up.
#[test]
fn a_file_that_was_full_is_followed_by_one_that_begins_with_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut full =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let logs = Logs::default();
    let journal = logs.journal(&file(&path), 0);
    // Seven bytes a line, which no number of pages is a multiple of; more than any pipe holds.
    let numbers = 100_000..400_000;
    let text: String = numbers.map(|number| format!("{number}\n")).collect();
    journal.write(|out| out.extend_from_slice(text.as_bytes()), |_, _| ());
    wait(|| (&full).read(&mut [0]).is_ok_and(|read| read == 1));
    fs::rename(&path, &old).unwrap();
    logs.reopen();
    wait(|| logs.list()[0].written == 1);
    let mut taken = Vec::new();
    let _ = full.read_to_end(&mut taken);
    let new = fs::read_to_string(&path).unwrap();
    let cut = 1 + taken.len();
    assert_eq!(text.as_bytes()[1..cut], taken);
    assert_eq!(new, text[cut - cut % 7..], "cut at {cut}");
}

/// Its connection would wait for somebody to accept it, and nothing would be known of that.
#[test]
fn a_socket_where_nobody_accepts_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _only_place = UnixStream::connect(&path).unwrap();
    let logs = Logs::default();
    let journal = logs.journal(&Output::Socket(path.clone()), 0);
    wait(|| logs.list()[0].failing);
    drop(listener);
    fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    write(&journal, 0..1);
    let mut line = String::new();
    BufReader::new(&listener.accept().unwrap().0).read_line(&mut line).unwrap();
    assert_eq!(line, "0\n");
}

#[test]
fn a_full_disk_fills_the_queue_and_what_does_not_fit_is_counted() {
    let logs = Logs::default();
    let journal = logs.journal(&file(Path::new("/dev/full")), 0);
    write(&journal, 0..1000);
    let view = logs.list().remove(0);
    assert_eq!((view.written, view.output.as_str()), (0, "file:/dev/full"));
    // One batch may be in the writer's hand.
    let waiting = LOG_QUEUE as u64;
    assert!((1000 - waiting - 1..=1000 - waiting).contains(&view.dropped), "{view:?}");
    wait(|| logs.list()[0].failing);
    let begun = clock::now();
    logs.finish(LOG_PATIENCE);
    assert!(clock::now() - begun < LOG_PATIENCE, "the end does not wait for a disk that is full");
}

#[test]
fn a_reader_that_comes_late_finds_whole_lines_and_the_number_of_those_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let logs = Logs::default();
    let journal = logs.journal(&Output::Socket(path.clone()), 0);
    // The writer holds the first batch from here on, so that all losses come in one row: a batch
    // that it takes out of a full queue makes room for one that tells of those so far.
    write(&journal, 0..1);
    wait(|| journal.channel.batches.is_empty());
    write(&journal, 1..1000);
    let dropped = journal.counts.dropped.get();
    assert!(dropped > 0);
    let listener = UnixListener::bind(&path).unwrap();
    let (stream, _) = listener.accept().unwrap();
    wait(|| !logs.list()[0].failing && journal.channel.batches.is_empty());
    write(&journal, 1000..1001);
    logs.finish(LOG_PATIENCE);
    drop(logs);
    drop(journal);
    let lines: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
    assert_eq!(lines.first().unwrap(), "0");
    assert_eq!(lines[lines.len() - 2..], [format!("dropped {dropped}"), "1000".to_owned()]);
    assert_eq!(lines.len() as u64 - 2 + dropped, 1000);
}

#[test]
fn a_reader_that_goes_away_is_followed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let logs = Logs::default();
    let journal = logs.journal(&Output::Socket(path), 0);
    write(&journal, 0..1);
    let (stream, _) = listener.accept().unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    assert_eq!(line, "0\n");
    drop(stream);
    write(&journal, 1..2);
    let (mut stream, _) = listener.accept().unwrap();
    logs.finish(LOG_PATIENCE);
    let mut text = String::new();
    drop((logs, journal));
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "1\n");
}

#[test]
fn batches_are_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::default();
    let journal = logs.journal(&file(&folder.path().join("a.log")), 0);
    let mut seen = std::collections::HashSet::new();
    for number in 0..100 {
        write(&journal, number..number + 1);
        // The batch just written may be in the stock, in the writer's hand or in use again: a
        // third one is made only while both others are on their way.
        wait(|| logs.list()[0].written == number + 1);
        seen.insert(journal.open.borrow().text.as_ptr());
    }
    assert!(seen.len() <= 4, "{} buffers for a hundred batches", seen.len());
}

#[test]
fn an_output_that_nobody_uses_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Shared::new(Logs::default());
    let journals = Journals::new(logs.clone(), 0);
    let journal = journals.open(&file(&folder.path().join("a.log")));
    journals.sweep();
    assert!(Rc::ptr_eq(&journal, &journals.open(&file(&folder.path().join("a.log")))));
    write(&journal, 0..1);
    drop(journal);
    journals.sweep();
    logs.reopen();
    assert_eq!(logs.list(), []);
    let path = folder.path().join("a.log");
    wait(|| fs::read_to_string(&path).is_ok_and(|text| text == "0\n"));
}

#[track_caller]
fn wait(reached: impl Fn() -> bool) {
    let start = clock::now();
    while !reached() {
        assert!(clock::now() - start < Duration::from_secs(10), "waited in vain");
        std::thread::yield_now();
    }
}
