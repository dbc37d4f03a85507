//! A path secret as it crosses the border: checked by the package, once more here, and never kept.

use crate::{
    config,
    errors::{Code, Result, error},
    options,
};
use napi::bindgen_prelude::{Buffer, Uint8ArraySlice};
use napi_derive::napi;
use paceline_transport::{
    handshake::InjectedPath,
    wire::{PathSecret, Role, Suite, crypto},
};
use std::net::SocketAddr;

/// What `inject()` takes.
#[napi(object, object_to_js = false)]
pub(crate) struct DriverInjectOptions<'env> {
    /// 32 bytes.
    pub export_secret: Uint8ArraySlice<'env>,
    /// Ours.
    #[napi(ts_type = "'client' | 'server'")]
    pub role: String,
    /// Of the path: nothing is negotiated.
    #[napi(ts_type = "'aes-128-gcm' | 'aes-256-gcm'")]
    pub cipher_suite: String,
    /// 16 bytes.
    pub peer_reset_token: Option<Uint8ArraySlice<'env>>,
    /// Key id of the first stream opened here.
    pub first_key_id: f64,
    /// Bytes of a stream that the peer takes at first.
    pub remote_max_data: f64,
    /// Streams that the peer takes.
    pub remote_max_streams: f64,
    /// Milliseconds.
    pub remote_idle_timeout: f64,
    /// UDP payload that the peer takes, in bytes.
    pub max_datagram_size: f64,
    /// Milliseconds that an authentic packet may take to come.
    pub handshake_timeout: f64,
    /// Bits per second, 0 for no cap.
    pub max_bitrate: f64,
}

impl DriverInjectOptions<'_> {
    /// As the worker wants it. (`as` saturates, and makes 0 of NaN.) No message shows a byte of what is secret.
    pub(crate) fn path(&self, remote: SocketAddr) -> Result<InjectedPath> {
        let suite = suite(&self.cipher_suite)?;
        let role = match self.role.as_str() {
            "client" => Role::Client,
            "server" => Role::Server,
            other => return Err(error(Code::Option, format_args!("unknown role {other:?}"))),
        };
        let export = bytes("exportSecret", &self.export_secret)?;
        let mut path = InjectedPath::new(export, suite, role, remote);
        path.peer_reset_token =
            self.peer_reset_token.as_deref().map(|token| bytes("peerResetToken", token)).transpose()?;
        path.first_key_id = self.first_key_id as u64;
        path.confirm_timeout_ns = config::ns(self.handshake_timeout);
        let peer = &mut path.peer;
        peer.initial_max_data = self.remote_max_data as u64;
        peer.max_streams = self.remote_max_streams as _;
        peer.idle_timeout_ms = self.remote_idle_timeout as _;
        peer.max_datagram = self.max_datagram_size as _;
        Ok(path)
    }
}

fn suite(name: &str) -> Result<Suite> {
    Ok(if options::aes_256(name)? { Suite::Aes256GcmSha384 } else { Suite::Aes128GcmSha256 })
}

/// What an endpoint with `reset_key` proves with that it has no such path secret: 16 bytes.
///
/// # Errors
/// `ERR_PACELINE_OPTION`, `ERR_PACELINE_SECRET`
#[napi]
pub(crate) fn reset_token(reset_key: &[u8], export_secret: &[u8], cipher_suite: String) -> Result<Buffer> {
    // Both roles have one id.
    let secret = PathSecret::new(bytes("exportSecret", export_secret)?, suite(&cipher_suite)?, Role::Client);
    Ok(crypto::reset_token(&bytes("resetKey", reset_key)?, secret.id()).to_vec().into())
}

pub(crate) fn bytes<const LEN: usize>(name: &str, given: &[u8]) -> Result<[u8; LEN]> {
    given
        .try_into()
        .map_err(|_| error(Code::Secret, format_args!("{name}: expected {LEN} bytes, got {}", given.len())))
}
