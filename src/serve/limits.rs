//! What strangers may ask for.

use std::time::Duration;

use crate::data::ImageLimits;

/// Bytes of one request's body.
pub(super) const BODY: usize = 16 << 20;

/// Bytes of the bodies of all requests that are being received or decoded.
pub(super) const BODIES: usize = 256 << 20;

/// Bytes of a body beyond its limit that are read and dropped, so that a client that sends before it listens learns why
/// it was refused.
pub(super) const DISCARDED: usize = 64 << 20;

/// Connections at a time; further ones wait.
pub(super) const CONNECTIONS: usize = 512;

/// Images that are decoded at a time; each may take a few hundred MiB.
pub(super) const DECODERS: usize = 4;

/// Images from the largest of today's phones pass.
pub(super) const IMAGE: ImageLimits = ImageLimits { side: 16_384, pixels: 64 << 20 };

/// From the end of a request to its answer.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// After a signal to stop, requests that were on their way are still answered for so long; then idle connections end.
pub(super) const LULL: Duration = Duration::from_millis(250);

/// The longest that the end waits for requests that were accepted.
pub(super) const GRACE: Duration = Duration::from_secs(60);
