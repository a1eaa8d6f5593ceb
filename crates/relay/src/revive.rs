//! Brings back channels whose account was broken: each is probed when its pause is over, by the
//! free call that its protocol names; and at once when its operator has given it another key.

use crate::account::{AccountFault, AccountWatch, MAX_READ_BYTES};
use crate::channels::PausedChannel;
use crate::{Current, Relay};
use bytes::Bytes;
use domain::ChannelId;
use egress::Prepared;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use store::{Catalog, Channel};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use upstream::{Deadlines, OutboundRequest};

/// Pause between two searches for channels to probe.
const PAUSE: Duration = Duration::from_secs(1);
/// Channels probed concurrently.
const AT_ONCE: usize = 8;
const DEADLINES: Deadlines =
    Deadlines { connect_ms: 5_000, first_byte_ms: 10_000, idle_ms: 5_000, total_ms: 20_000 };

/// What a probe has shown.
#[derive(Debug)]
pub(crate) enum Probed {
    /// The account works, as far as a free call shows.
    Works,
    Broken(AccountFault),
    /// The upstream does not have the call: one of its customers' calls decides.
    Absent,
    /// The upstream can't be reached, or is broken itself.
    Unknown,
}

impl Relay {
    /// Probes paused channels, until `shutdown`. None waits for another one, which may be slow.
    pub async fn keep_reviving(current: Current, shutdown: CancellationToken) {
        let mut searches = tokio::time::interval(PAUSE);
        searches.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut probes, mut under_way) = (FuturesUnordered::new(), HashSet::new());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(id) = probes.next() => {
                    under_way.remove(&id);
                }
                _ = searches.tick() => {
                    let relay = current.now();
                    for paused in relay.due_accounts() {
                        let id = paused.prepared.channel.id;
                        if probes.len() < AT_ONCE && under_way.insert(id) {
                            probes.push(Arc::clone(&relay).revive(paused));
                        }
                    }
                }
            }
        }
    }

    /// Paused channels that are to be probed now. One that is disabled calls nobody, and waits.
    fn due_accounts(&self) -> Vec<PausedChannel> {
        let catalog = self.live.catalog.load_full();
        let mut due = Vec::new();
        for paused in self.channels.paused_accounts() {
            match same_account(&catalog, &paused) {
                None => self.channels.forget_pause(&paused),
                Some(now) if paused.is_due && now.is_enabled() => {
                    due.push(paused);
                }
                Some(_) => {}
            }
        }
        due
    }

    async fn revive(self: Arc<Self>, paused: PausedChannel) -> ChannelId {
        let probed = self.probe(&paused.prepared).await;
        // Of an account that has been replaced meanwhile it says nothing.
        if same_account(&self.live.catalog.load(), &paused).is_some() {
            self.channels.note_probe(&paused, probed);
        }
        paused.prepared.channel.id
    }

    async fn probe(&self, prepared: &Prepared) -> Probed {
        let Some(route) = egress::free_probe(&prepared.protocol) else { return Probed::Unknown };
        let Some(mut request) = probe_request(prepared) else { return Probed::Unknown };
        prepared.sign(&mut request.headers, self.clock.now());
        let Ok(mut reply) = self.client.send(request, &DEADLINES).await else {
            return Probed::Unknown;
        };
        let mut watch = AccountWatch::by(route, &reply);
        let mut left_bytes = MAX_READ_BYTES;
        while let Some(frame) = reply.body.frame().await {
            let Ok(frame) = frame else { return Probed::Unknown };
            let Ok(data) = frame.into_data() else { continue };
            watch.feed(&data);
            left_bytes = left_bytes.saturating_sub(data.len());
            if left_bytes == 0 {
                break;
            }
        }
        match watch.finish(prepared.echo.as_ref()) {
            Some(fault) => Probed::Broken(fault),
            None if reply.status.is_server_error() => Probed::Unknown,
            // Others who answer in a vendor's shape do not have all of its calls.
            None if is_not_there(reply.status) => Probed::Absent,
            None => Probed::Works,
        }
    }
}

fn is_not_there(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
}

fn probe_request(prepared: &Prepared) -> Option<OutboundRequest<'_>> {
    let model = prepared.channel.first_model()?;
    let model = egress::mapped(&prepared.channel, model).ok()?;
    let (method, path, body) = prepared.cheapest(model)?;
    let mut headers = HeaderMap::new();
    prepared.set_own_headers((&method, &path), &mut headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Some(OutboundRequest {
        method,
        uri: prepared.at_path(&path, None).ok()?,
        headers,
        body: Bytes::from(body).into(),
        proxy: &prepared.proxy,
    })
}

/// The channel as it is now; none where it is gone, or has another account.
fn same_account<'c>(catalog: &'c Catalog, paused: &PausedChannel) -> Option<&'c Channel> {
    let old = &paused.prepared.channel;
    let is_same = |now: &&Channel| {
        old.key.expose() == now.key.expose()
            && old.base_url == now.base_url
            && old.protocol.name == now.protocol.name
    };
    let channels = catalog.channels().iter().map(|channel| &**channel);
    channels.into_iter().find(|channel| channel.id == old.id).filter(is_same)
}
