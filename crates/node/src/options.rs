//! Objects that cross the border as they are. Field names become camelCase; units are in `packages/paceline/src/driver.ts`.

use crate::{
    commands,
    config::{self, Numbers},
    errors::{Code, Result, error},
    injected::bytes,
};
use napi::bindgen_prelude::{Function, Uint8ArraySlice};
use napi_derive::napi;
use paceline_transport::{Algorithm, Config, ResetKey, app::Command, handshake::Secret};
use std::{net::SocketAddr, sync::Arc};

/// What `new NativeDriver()` takes.
#[napi(object, object_to_js = false)]
pub(crate) struct DriverOptions<'env> {
    /// IP address to bind.
    pub address: String,
    /// UDP port, 0 for any.
    pub port: u32,
    /// Accepted in handshakes; none: nobody is let in.
    pub secrets: Vec<Uint8ArraySlice<'env>>,
    /// 32 bytes: proves, also after a restart, that a path secret is not known.
    pub reset_key: Option<Uint8ArraySlice<'env>>,
    /// Bits per second, 0 for no cap.
    pub max_bitrate: f64,
    /// Bursts.
    pub max_in_flight_transmissions: f64,
    /// Controller of new paths.
    #[napi(ts_type = "'bbr' | 'cubic'")]
    pub congestion_control: String,
    /// Preferred cipher.
    #[napi(ts_type = "'aes-128-gcm' | 'aes-256-gcm'")]
    pub cipher: String,
    /// Label bound into the handshake.
    pub application: Option<String>,
    /// Milliseconds.
    pub idle_timeout: f64,
    /// Whether a waiting stream probes.
    pub keep_alive: bool,
    /// Told to peers. Nobody is let in before the command AcceptStreams.
    pub max_incoming_streams: f64,
    /// Streams of the endpoint.
    pub max_streams: f64,
    /// Bytes.
    pub pool_bytes: f64,
    /// Bytes.
    pub send_buffer_bytes: f64,
    /// Bytes.
    pub initial_window: f64,
    /// Bytes.
    pub max_window: f64,
    /// Milliseconds.
    pub max_schedule_ahead: f64,
    /// Bits per second before the first RTT; left out for the default.
    pub initial_bitrate: Option<f64>,
    /// Milliseconds; left out for the default.
    pub assumed_rtt: Option<f64>,
    /// Bytes, 0 for the default.
    pub max_datagram_size: f64,
    /// One datagram per send call.
    pub disable_gso: bool,
    /// One datagram per receive call.
    pub disable_gro: bool,
    /// Rings when there is news. Held for as long as the driver is open: it must not hold the driver.
    pub on_wake: Function<'env, (), ()>,
}

impl DriverOptions<'_> {
    /// The worker's configuration.
    pub(crate) fn config(&self) -> Result<Config> {
        let mut config = Config {
            congestion_control: congestion_control(&self.congestion_control)?,
            aes_256: aes_256(&self.cipher)?,
            keep_alive: self.keep_alive,
            secrets: secrets(&self.secrets)?,
            reset_key: self
                .reset_key
                .as_deref()
                .map(|key| bytes("resetKey", key).map(ResetKey))
                .transpose()?,
            application: self.application.as_deref().map(Arc::from),
            ..Config::default()
        };
        self.numbers().apply(&mut config);
        Ok(config)
    }

    fn numbers(&self) -> Numbers {
        Numbers {
            max_bitrate: self.max_bitrate,
            max_in_flight_transmissions: self.max_in_flight_transmissions,
            idle_timeout_ms: self.idle_timeout,
            max_incoming_streams: self.max_incoming_streams,
            max_streams: self.max_streams,
            pool_bytes: self.pool_bytes,
            send_buffer_bytes: self.send_buffer_bytes,
            initial_window: self.initial_window,
            max_window: self.max_window,
            max_schedule_ahead_ms: self.max_schedule_ahead,
            initial_bitrate: self.initial_bitrate.unwrap_or_default(),
            assumed_rtt_ms: self.assumed_rtt.unwrap_or_default(),
            max_datagram_size: self.max_datagram_size,
        }
    }
}

fn congestion_control(name: &str) -> Result<Algorithm> {
    match name {
        "bbr" => Ok(Algorithm::Bbr),
        "cubic" => Ok(Algorithm::Cubic),
        other => Err(error(Code::Option, format_args!("unknown congestion control {other:?}"))),
    }
}

pub(crate) fn aes_256(cipher: &str) -> Result<bool> {
    match cipher {
        "aes-128-gcm" => Ok(false),
        "aes-256-gcm" => Ok(true),
        other => Err(error(Code::Option, format_args!("unknown cipher {other:?}"))),
    }
}

/// Each as [`Secret::new`] wants it.
pub(crate) fn secrets(bytes: &[Uint8ArraySlice<'_>]) -> Result<Arc<[Secret]>> {
    bytes.iter().map(|bytes| Secret::new(bytes).map_err(|refused| error(Code::Secret, refused))).collect()
}

/// What `connect()` takes.
#[napi(object, object_to_js = false)]
pub(crate) struct DriverConnectOptions<'env> {
    /// The first opens, all are accepted.
    pub secrets: Vec<Uint8ArraySlice<'env>>,
    /// Milliseconds.
    pub handshake_timeout: f64,
    /// Bits per second, 0 for no cap.
    pub max_bitrate: f64,
}

impl DriverConnectOptions<'_> {
    /// The command to make the handshake.
    ///
    /// # Errors
    /// A secret is refused.
    pub(crate) fn command(&self, peer: u32, remote: SocketAddr) -> Result<Command> {
        Ok(Command::Connect {
            peer,
            remote,
            secrets: secrets(&self.secrets)?,
            handshake_timeout_ns: config::ns(self.handshake_timeout),
            max_rate: commands::max_rate(self.max_bitrate as u64),
        })
    }
}

/// Where the socket is bound.
#[napi(object, object_from_js = false)]
pub(crate) struct LocalAddress {
    /// IP address.
    pub address: String,
    /// UDP port.
    pub port: u32,
    /// Address family.
    #[napi(ts_type = "'IPv4' | 'IPv6'")]
    pub family: String,
}

/// Where a peer is.
#[napi(object, object_from_js = false)]
pub(crate) struct RemoteAddress {
    /// IP address.
    pub address: String,
    /// UDP port.
    pub port: u32,
}

/// What is alive in this process, over all environments.
#[napi(object, object_from_js = false)]
pub(crate) struct NativeLiveness {
    /// Not closed.
    pub drivers: u32,
    /// Of drivers.
    pub threads: u32,
    /// Not freed.
    pub pools: u32,
    /// Out, over all pools.
    pub lent_descriptors: u32,
    /// Allocated, over all pools.
    pub pool_bytes: f64,
}

impl From<crate::live::Live> for NativeLiveness {
    fn from(live: crate::live::Live) -> Self {
        Self {
            drivers: live.drivers as u32,
            threads: live.threads as u32,
            pools: live.pools as u32,
            lent_descriptors: live.lent_descriptors as u32,
            pool_bytes: live.pool_bytes as f64,
        }
    }
}
