//! The original, with a path secret that no TLS handshake made.

use paceline_wire::{Role, Suite};
use s2n_quic::server::Name;
use s2n_quic_core::{
    connection::limits::Limits,
    crypto::tls::{ChainError, CipherSuite, TlsExportError, TlsSession},
    dc::{self, ApplicationParams, Endpoint as _, Path as _},
    endpoint,
    event::IntoEvent as _,
    inet,
    stateless_reset::Token,
    time::StdClock,
    transport::parameters::InitialFlowControlLimits,
    varint::VarInt,
};
use s2n_quic_dc::{
    event::disabled::Subscriber,
    path::secret::{HandshakeKind, Map, map::Peer, stateless_reset::Signer},
    stream::{
        application::Stream as DcStream,
        client::tokio::{Client, Handshake as ClientHandshake},
        server::tokio::{Handshake as ServerHandshake, Server},
        socket::Protocol,
    },
};
use std::{io, net::SocketAddr, num::NonZeroU32};

/// Secrets it keeps.
const CAPACITY: usize = 100_000;

/// A stream of upstream's, tokio's traits on it.
pub type Stream = DcStream<Subscriber>;

/// A TLS session that never was.
struct Injected {
    export: [u8; 32],
    suite: Suite,
}

impl TlsSession for Injected {
    fn tls_exporter(&self, _: &[u8], _: &[u8], out: &mut [u8]) -> Result<(), TlsExportError> {
        out.copy_from_slice(&self.export);
        Ok(())
    }

    fn cipher_suite(&self) -> CipherSuite {
        match self.suite {
            Suite::Aes128GcmSha256 => CipherSuite::TLS_AES_128_GCM_SHA256,
            Suite::Aes256GcmSha384 => CipherSuite::TLS_AES_256_GCM_SHA384,
        }
    }

    fn peer_cert_chain_der(&self) -> Result<Vec<Vec<u8>>, ChainError> {
        Err(ChainError::failure())
    }

    fn client_cert_chain_der(&self) -> Result<Option<Vec<u8>>, ChainError> {
        Ok(None)
    }

    fn selected_cert_der(&self) -> Result<Option<Vec<Vec<u8>>>, ChainError> {
        Ok(None)
    }
}

/// Hands out the secrets there are.
#[derive(Clone)]
struct Provider {
    map: Map,
    local: SocketAddr,
}

impl ClientHandshake for Provider {
    async fn handshake_with_entry(&self, remote: SocketAddr, _: Name) -> io::Result<(Peer, HandshakeKind)> {
        let peer = self.map.get_tracked(remote);
        peer.map(|peer| (peer, HandshakeKind::Cached)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn background_handshake_with(&self, _: SocketAddr, _: Name) -> io::Result<HandshakeKind> {
        Ok(HandshakeKind::Cached)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn map(&self) -> &Map {
        &self.map
    }
}

impl ServerHandshake for Provider {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn map(&self) -> &Map {
        &self.map
    }
}

/// A path secret for upstream.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// 32 bytes that both sides have.
    pub export: [u8; 32],
    /// Cipher suite.
    pub suite: Suite,
    /// Upstream's own role.
    pub role: Role,
    /// Our address: the name under which it is looked up for opening, and where secret control goes.
    pub remote: SocketAddr,
    /// What we prove with that we lost the secret.
    pub our_token: [u8; 16],
    /// Bytes a side may send before it is granted more, both ways.
    pub window: u64,
    /// Largest UDP payload.
    pub mtu: u16,
    /// Silence that ends a stream.
    pub idle_timeout_ms: u32,
}

/// An endpoint of `s2n-quic-dc` that opens and accepts.
pub struct Upstream {
    map: Map,
    signer: Signer,
    server: Server<Provider, Subscriber>,
    client: Client<Provider, Subscriber>,
}

impl Upstream {
    /// Within a tokio runtime; `reset_key` makes its stateless reset tokens.
    ///
    /// # Errors
    /// A socket or a thread is refused.
    pub fn start(reset_key: &[u8]) -> io::Result<Self> {
        let map =
            Map::new(Signer::new(reset_key), CAPACITY, false, StdClock::default(), Subscriber::default());
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let provider = Provider { map: map.clone(), local: loopback };
        // With one worker its queue ids begin at 0, which nobody can answer to.
        let workers = std::num::NonZeroUsize::new(2).ok_or(io::ErrorKind::InvalidInput)?;
        let server = Server::<Provider, Subscriber>::builder()
            .with_address(loopback)
            .with_protocol(Protocol::Udp)
            .with_workers(workers)
            .build(provider.clone(), Subscriber::default())?;
        let client = Client::<Provider, Subscriber>::builder()
            .with_default_protocol(Protocol::Udp)
            .with_background_threads(2)
            .build(provider, Subscriber::default())?;
        Ok(Self { map, signer: Signer::new(reset_key), server, client })
    }

    /// Where it accepts streams.
    ///
    /// # Errors
    /// Its socket does not know.
    pub fn acceptor(&self) -> io::Result<SocketAddr> {
        self.server.acceptor_addr()
    }

    /// The token with which it proves that it does not know a credential id.
    #[must_use]
    pub fn token(&self, id: [u8; 16]) -> [u8; 16] {
        self.signer.sign(&id.into())
    }

    /// Gives it a secret; what was registered for the same address before is replaced.
    ///
    /// # Errors
    /// Upstream refuses it.
    pub fn register(&self, entry: &Entry) -> io::Result<()> {
        let refuse = |what: &str| io::Error::other(format!("upstream refuses the path secret: {what}"));
        let window = VarInt::new(entry.window).map_err(io::Error::other)?;
        let mut parameters =
            ApplicationParams::new(entry.mtu, &InitialFlowControlLimits::default(), &Limits::default());
        parameters.remote_max_data = window;
        parameters.local_send_max_data = window;
        parameters.local_recv_max_data = window;
        parameters.max_idle_timeout = NonZeroU32::new(entry.idle_timeout_ms);
        let role = match entry.role {
            Role::Client => endpoint::Type::Client,
            Role::Server => endpoint::Type::Server,
        };
        let remote: inet::SocketAddress = entry.remote.into();
        let info = dc::ConnectionInfo::new(&remote, dc::SUPPORTED_VERSIONS[0], parameters, role.into_event());
        let mut path = self.map.clone().new_path(&info).ok_or_else(|| refuse("no path"))?;
        let session = Injected { export: entry.export, suite: entry.suite };
        path.on_path_secrets_ready(&session).map_err(|error| refuse(&error.to_string()))?;
        path.on_peer_stateless_reset_tokens([Token::from(entry.our_token)].iter());
        path.on_dc_handshake_complete();
        Ok(())
    }

    /// Opens a stream with the secret registered for `name`, to `acceptor`.
    ///
    /// # Errors
    /// As upstream says.
    pub async fn open(&self, name: SocketAddr, acceptor: SocketAddr) -> io::Result<Stream> {
        self.client.connect(name, acceptor, Name::from_static("localhost")).await
    }

    /// The next stream that somebody opens.
    ///
    /// # Errors
    /// As upstream says.
    pub async fn accept(&self) -> io::Result<Stream> {
        self.server.accept().await.map(|(stream, _)| stream)
    }
}
