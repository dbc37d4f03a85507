//! What arrives, and what comes with it.

use super::*;
use paceline_transport::Outcome;
use std::net::IpAddr;

over_every_link!(
    ecn_arrives,
    a_wildcard_answers_from_the_address_asked,
    errors_of_other_datagrams_do_not_end_receiving,
    whoever_else_takes_all_there_is_leaves_receiving_its_descriptor,
    an_exhausted_pool_leaves_datagrams_in_the_kernel,
    a_broken_socket_does_not_spin,
);

fn ecn_arrives<L: Bind>() {
    for bind in [V4, V6] {
        let mut from = End::<L>::new(&options(bind));
        let mut to = End::<L>::new(&options(bind));
        let mut maker = Maker::new(&from.pool);
        for ecn in [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce] {
            let mut burst = maker.burst(to.address, 1000, 3000);
            burst.ecn = ecn;
            from.send_all(vec![burst]);
            let mut datagrams = 0;
            while datagrams < 3 {
                let burst = to.arrival(1);
                assert_eq!(burst.ecn, ecn);
                datagrams += burst.segments.count();
            }
            assert_eq!(datagrams, 3);
        }
    }
}

fn a_wildcard_answers_from_the_address_asked<L: Bind>() {
    for (bind, client, asked) in [("0.0.0.0:0", V4, "127.0.0.77"), ("[::]:0", V6, "::1")] {
        let asked: IpAddr = asked.parse().unwrap();
        let mut server = End::<L>::new(&options(bind));
        let mut client = End::<L>::new(&options(client));
        let server_address = SocketAddr::new(asked, server.address.port());
        let mut maker = Maker::new(&server.pool);
        client.send_all(vec![maker.burst(server_address, 100, 100)]);
        let question = server.arrival(1);
        assert_eq!((question.local, question.remote), (Some(asked), client.address));

        let mut answer = maker.burst(question.remote, 100, 300);
        answer.local = question.local;
        server.send_all(vec![answer]);
        let answer = client.arrival(1);
        assert_eq!((answer.remote, answer.local), (server_address, None));
    }
}

fn errors_of_other_datagrams_do_not_end_receiving<L: Bind>() {
    let mut from = End::<L>::new(&options(V4));
    let mut to = End::<L>::new(&options(V4));
    for errno in [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ENETUNREACH, libc::EINTR, libc::EMSGSIZE] {
        from.send_all(vec![Maker::new(&from.pool).burst(to.address, 100, 100)]);
        let link = to.socket.link_mut();
        (link.receives, link.injected) = (0, 0);
        link.receive_fault = Box::new(move |n| (n <= 3).then_some(errno));
        assert_eq!(to.arrival(1).segments.count(), 1);
        assert_eq!(to.socket.link().injected, 3);
    }
    assert_eq!(to.counters().receive_errors, 0);
    // For ever is too long, though: the rest of the worker wants its turn.
    to.socket.link_mut().receive_fault = Box::new(|_| Some(libc::ECONNREFUSED));
    assert!(to.socket.receive(1).is_none());
}

fn whoever_else_takes_all_there_is_leaves_receiving_its_descriptor<L: Bind>() {
    let mut from = End::<L>::new(&options(V4));
    let mut to = End::<L>::new(&options(V4));
    let hoarded: Vec<_> = std::iter::from_fn(|| to.pool.take(1, Purpose::Control).ok()).collect();
    assert!(!hoarded.is_empty());
    for _ in 0..3 {
        from.send_all(vec![Maker::new(&from.pool).burst(to.address, 1000, 1000)]);
        assert_eq!(to.arrival(1).segments.total_len(), 1000);
    }
    assert_eq!(to.counters().starved, 0);
}

fn an_exhausted_pool_leaves_datagrams_in_the_kernel<L: Bind>() {
    let mut from = End::<L>::new(&options(V4));
    let mut to = End::<L>::new(&options(V4));
    from.send_all(vec![Maker::new(&from.pool).burst(to.address, 100, 100)]);
    let hoarded: Vec<_> = std::iter::from_fn(|| to.pool.take(64 << 10, Purpose::Receive).ok()).collect();
    assert!(!hoarded.is_empty());
    assert!(to.socket.receive(10).is_none());
    assert_eq!(to.counters().starved, 1);
    // Readable, and no use in hearing so: otherwise the thread would spin until somebody gives memory back.
    let (interest, deadline_ns) = to.socket.wants(None);
    assert_eq!((interest.readable, deadline_ns), (false, Some(1_000_010)));
    drop(hoarded);
    assert!(to.socket.receive(1_000_009).is_none());
    assert_eq!(to.arrival(1_000_010).segments.count(), 1);
    assert_eq!(to.socket.wants(None), (crate::wait::Interest { readable: true, writable: false }, None));
}

fn a_broken_socket_does_not_spin<L: Bind>() {
    let mut to = End::<L>::new(&options(V4));
    to.socket.link_mut().receive_fault = Box::new(|_| Some(libc::EBADF));
    assert!(to.socket.receive(10).is_none());
    assert_eq!((to.counters().receive_errors, to.socket.link().injected), (1, 1));
    let (interest, deadline_ns) = to.socket.wants(Some(7_000_000));
    assert_eq!((interest.readable, deadline_ns), (false, Some(1_000_010)));
}

#[test]
fn a_cut_burst_keeps_its_whole_datagrams() {
    let mut from = End::<LinuxLink>::new(&options(V4));
    let mut to = End::<LinuxLink>::new(&options(V4));
    let mut maker = Maker::new(&from.pool);
    to.socket.link_mut().buffer_len = 3500;
    from.send_all(vec![maker.burst(to.address, 1000, 10_000)]);
    from.send_all(vec![maker.burst(to.address, 4000, 4000)]);
    from.send_all(vec![maker.burst(to.address, 10, 10)]);
    assert_eq!(tallied(&to.arrivals(4)), [(0, 1), (1, 1), (2, 1), (11, 1)].into());
    assert_eq!(to.counters().truncated, 2);
    assert_eq!(to.pool.stats().lent, 0);
}

#[test]
fn an_empty_datagram_is_passed_over() {
    let mut to = End::<LinuxLink>::new(&options(V4));
    let from = UdpSocket::bind(V4).unwrap();
    for bytes in [&[][..], &[], &datagram(5, 20), &[]] {
        from.send_to(bytes, to.address).unwrap();
    }
    assert_eq!(to.arrivals(1), [datagram(5, 20)]);
    to.until(|to| to.counters().receives == 4);
}

#[test]
fn an_ipv6_socket_takes_no_ipv4() {
    let six = End::<LinuxLink>::new(&options("[::]:0"));
    let port = six.address.port();
    // Were it a dual stack, the port would be taken.
    let mut four = End::<LinuxLink>::new(&options(&format!("0.0.0.0:{port}")));
    let mut from = End::<LinuxLink>::new(&options(V4));
    let to = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
    let results = from.send_all(vec![Maker::new(&from.pool).burst(to, 100, 100)]);
    assert!(matches!(results[0].outcome, Outcome::Sent { .. }));
    assert_eq!(four.arrivals(1).len(), 1);
}

#[test]
fn random_is_random() {
    let mut end = End::<LinuxLink>::new(&options(V4));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let mut bytes = [0; 32];
        end.socket.random(&mut bytes);
        assert!(seen.insert(bytes));
    }
    let mut long = vec![0; 100_000];
    end.socket.random(&mut long);
    assert!(long.chunks(64).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
    end.socket.random(&mut []);
}
