//! What no user of the index can bring about: a writer that is held up, or that panics.

use std::time::Duration;

use super::*;
use crate::event::Block;

fn stored(id: u64) -> Event {
    let blocks = vec![Block { sequence: id, local: id }];
    Event { worker: Worker::new(1, 0), id, data: EventData::Stored { parent: None, blocks } }
}

fn tell(index: &Index, message: Message) {
    assert!(index.0.shards[0].send(message).is_ok(), "the mailbox is open");
}

fn depth(index: &Index, id: u64) -> u32 {
    let mut matches = Matches::new();
    index.find(&[id], &mut matches);
    matches.depth(Worker::new(1, 0))
}

#[test]
fn a_panicked_writer_ends_writing_and_not_reading() {
    let index = Index::builder().build().expect("valid settings");
    index.send(stored(1)).expect("open");
    index.flush().expect("open");
    // Behind the panic: an event that is lost with the writer, and askers who must not wait for ever.
    let hold = index.hold_up();
    tell(&index, Message::Panic);
    index.send(stored(2)).expect("open");
    let flush = index.0.shards[0].ask(Message::Flush).expect("open");
    let export = index.0.shards[0].ask(|reply| Message::Export(None, reply)).expect("open");
    hold.recv().expect("the writer waits");
    assert!(flush.recv().is_err() && export.recv().is_err());

    assert!(!index.is_alive());
    assert_eq!(index.flush(), Err(Closed));
    assert_eq!(index.export(), Err(Closed));
    assert_eq!(index.import(vec![stored(3)]), Err(ImportError::Closed));
    assert_eq!(index.send(stored(3)), Err(SendError(stored(3))));
    assert_eq!(index.try_send(stored(3)), Err(TrySendError::Closed(stored(3))));
    assert_eq!((depth(&index, 1), depth(&index, 2)), (1, 0), "readers go on with the last snapshot");
    let status = index.status();
    let shard = &status.shards[0];
    assert_eq!((shard.alive, shard.applied_events, shard.published_events, shard.runs), (false, 1, 1, 1));
    assert!(status.workers.is_empty());
    assert_eq!(index.shutdown(), Err(Closed), "the panic is reported");
    assert_eq!(depth(&index, 1), 1);
}

#[test]
fn an_index_of_which_one_writer_is_dead_is_not_alive() {
    let index = Index::builder().shards(2).build().expect("valid settings");
    let hold = index.hold_up();
    tell(&index, Message::Panic);
    let flush = index.0.shards[0].ask(Message::Flush).expect("open");
    assert!(index.is_alive());
    hold.recv().expect("the writer waits");
    assert!(flush.recv().is_err());
    assert!(!index.is_alive());
    assert!(index.0.shards[1].ask(Message::Flush).is_ok_and(|flush| flush.recv().is_ok()), "the other one is");
}

#[test]
fn senders_who_wait_are_let_go_when_the_writer_panics() {
    let index = Index::builder().mailbox(1).build().expect("valid settings");
    let hold = index.hold_up();
    tell(&index, Message::Panic);
    std::thread::scope(|scope| {
        let index = &index;
        let senders: Vec<_> = (0..3).map(|id| (id, scope.spawn(move || index.send(stored(id))))).collect();
        hold.recv().expect("the writer waits");
        let results = senders.into_iter().map(|(id, sender)| (id, sender.join().expect("no panic here")));
        // What was in the mailbox before the panic is lost with the writer; nothing else is.
        for (id, result) in results {
            assert!(result.is_ok() || result == Err(SendError(stored(id))));
        }
        assert_eq!(index.flush(), Err(Closed));
        assert_eq!(index.send(stored(9)), Err(SendError(stored(9))));
    });
}

/// The last handle may be dropped while the writer applies an event.
#[test]
fn a_writer_gives_room_back_to_a_mailbox_that_was_abandoned() {
    let room = mailbox::Room { events: 1, bytes: 100 };
    let mailbox = Mailbox::new(room);
    mailbox.try_send((), room).expect("there is room");
    let mut taken = std::collections::VecDeque::new();
    assert!(mailbox.try_take(&mut taken));
    mailbox.abandon();
    mailbox.release(room);
    assert_eq!(mailbox.used(), mailbox::Room::default());
}

#[test]
fn a_mailbox_holds_what_it_is_said_to_hold() {
    let index = Index::builder().mailbox(3).build().expect("valid settings");
    let hold = index.hold_up();
    for id in 0..3 {
        assert_eq!(index.try_send(stored(id)), Ok(()));
    }
    assert_eq!(index.try_send(stored(3)), Err(TrySendError::Full(stored(3))));
    assert_eq!((depth(&index, 0), depth(&index, 2)), (0, 0), "nothing is applied meanwhile");
    hold.recv().expect("the writer waits");
    index.send(stored(3)).expect("open");
    index.flush().expect("open");
    assert!((0..4).all(|id| depth(&index, id) == 1), "nothing accepted is lost");
}

#[test]
fn there_is_room_until_half_of_the_mailbox_is_in_use() {
    let index = Index::builder().mailbox(5).build().expect("valid settings");
    let worker = Worker::new(1, 0);
    let hold = index.hold_up();
    for id in 0..5 {
        assert_eq!(index.has_room(worker), id < 3, "{id} events wait");
        index.send(stored(id)).expect("open");
    }
    hold.recv().expect("the writer waits");
    index.flush().expect("open");
    assert!(index.has_room(worker));
    index.shutdown().expect("no panic");
    assert!(index.has_room(worker), "a send would fail at once");
}

/// Like [`stored`], with this many blocks.
fn long(id: u64, blocks: u64) -> Event {
    let blocks = (0..blocks).map(|place| Block { sequence: id << 32 | place, local: id << 32 | place }).collect();
    Event { worker: Worker::new(1, 0), id, data: EventData::Stored { parent: None, blocks } }
}

#[test]
fn a_mailbox_is_bounded_in_bytes() {
    let index = Index::builder().mailbox_bytes(100_000).build().expect("valid settings");
    let mailbox = &index.0.shards[0].mailbox;
    let hold = index.hold_up();
    let accepted = (0..100).take_while(|&id| index.try_send(long(id, 1000)).is_ok()).count();
    assert_eq!(accepted, 6, "16 bytes a block, and a little for each event");
    assert!(mailbox.used().bytes <= 100_000);
    assert!(!index.has_room(Worker::new(1, 0)));
    std::thread::scope(|scope| {
        let import = scope.spawn(|| index.import(vec![long(7, 1000)]));
        // The import waits for room, and nobody overtakes it.
        while !mailbox.has_waiting() {
            std::thread::yield_now();
        }
        assert!(matches!(index.try_send(stored(8)), Err(TrySendError::Full(_))));
        hold.recv().expect("the writer waits");
        assert_eq!(import.join().expect("no panic here"), Ok(()));
    });
    index.flush().expect("open");
    assert!((0..6).chain([7]).all(|id| depth(&index, id << 32) == 1));
    assert_eq!(index.status().shards[0].mailbox_bytes, 0);
}

#[test]
fn what_is_larger_than_the_mailbox_is_accepted_when_nothing_waits() {
    let index = Index::builder().mailbox_bytes(1000).build().expect("valid settings");
    let hold = index.hold_up();
    assert_eq!(index.try_send(long(1, 1000)), Ok(()));
    assert!(matches!(index.try_send(stored(2)), Err(TrySendError::Full(_))));
    std::thread::scope(|scope| {
        let large = scope.spawn(|| index.send(long(3, 1000)));
        while !index.0.shards[0].mailbox.has_waiting() {
            std::thread::yield_now();
        }
        hold.recv().expect("the writer waits");
        assert_eq!(large.join().expect("no panic here"), Ok(()));
    });
    index.import(vec![long(4, 1000), long(5, 1000)]).expect("open");
    assert!([1, 3, 4, 5].iter().all(|&id| depth(&index, id << 32) == 1));
}

#[test]
fn senders_who_wait_are_let_go_by_a_shutdown_before_the_writer_ends() {
    let index = Index::builder().mailbox(1).build().expect("valid settings");
    let hold = index.hold_up();
    index.send(stored(0)).expect("open");
    std::thread::scope(|scope| {
        let index = &index;
        let senders = [1, 2, 3].map(|id| (id, scope.spawn(move || index.send(stored(id)))));
        while !index.0.shards[0].mailbox.has_waiting() {
            std::thread::yield_now();
        }
        let shutdown = scope.spawn(|| index.shutdown());
        for (id, sender) in senders {
            assert_eq!(sender.join().expect("no panic here"), Err(SendError(stored(id))));
        }
        assert_eq!(index.try_send(stored(4)), Err(TrySendError::Closed(stored(4))));
        assert!(!shutdown.is_finished(), "the writer is still busy");
        hold.recv().expect("the writer waits");
        assert_eq!(shutdown.join().expect("no panic here"), Ok(()));
    });
    assert_eq!((depth(&index, 0), depth(&index, 1)), (1, 0));
}

#[test]
fn shutdown_applies_what_was_accepted() {
    let index = Index::builder().build().expect("valid settings");
    let hold = index.hold_up();
    (0..100).for_each(|id| index.send(stored(id)).expect("open"));
    std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| index.shutdown());
        // The end of the mailbox is there, and a hundred events before it.
        while index.try_send(stored(100)) == Ok(()) {}
        hold.recv().expect("the writer waits");
        assert_eq!(shutdown.join().expect("no panic here"), Ok(()));
    });
    assert!((0..100).all(|id| depth(&index, id) == 1));
}

#[test]
fn a_batch_is_published_while_more_is_waiting() {
    let index = Index::builder().publish_batch(3).publish_interval(Duration::MAX);
    let index = index.build().expect("valid settings");
    let hold = index.hold_up();
    (0..35).for_each(|id| index.send(stored(id)).expect("open"));
    hold.recv().expect("the writer waits");
    index.flush().expect("open");
    let status = index.status();
    assert_eq!(status.shards[0].generation, 12, "eleven full batches and the rest");
    assert_eq!(status.shards[0].lag.len(), 35, "the lag of every event is measured");
}

#[test]
fn what_came_before_a_large_event_does_not_wait_for_it() {
    let index = Index::builder().publish_batch(u64::MAX).publish_interval(Duration::MAX);
    let index = index.build().expect("valid settings");
    let hold = index.hold_up();
    for event in [stored(0), stored(1), long(2, 1000), stored(3), long(4, 10), long(5, 1000)] {
        index.send(event).expect("open");
    }
    hold.recv().expect("the writer waits");
    index.flush().expect("open");
    assert_eq!(index.status().shards[0].generation, 3, "before each of the large ones, and in the end");
}

#[test]
fn an_interval_of_nothing_publishes_as_often_as_the_clock_is_read() {
    let index = Index::builder().publish_batch(u64::MAX).publish_interval(Duration::ZERO);
    let index = index.build().expect("valid settings");
    let hold = index.hold_up();
    (0..200).for_each(|id| index.send(stored(id)).expect("open"));
    hold.recv().expect("the writer waits");
    index.flush().expect("open");
    assert!(index.status().shards[0].generation > 3);
}
