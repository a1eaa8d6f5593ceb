//! What the cases of protocols charge: each reply is read, counted and decided as a call's is,
//! whole and compressed, at the price of the case.

#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use super::{BodyEnd, CallEnd, Money, Seen, Terms, decide};
use crate::asked::Asked;
use crate::reply::{ReadAs, read_whole};
use domain::{FrozenPrice, Meters, PriceRow, Pricing, Quota, Ratio, Schedule, Usage};
use egress::RequestTexts;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::{Library, PriceNeeds, Protocol, RouteMatch};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

#[derive(Deserialize)]
struct Case {
    call: String,
    #[serde(default)]
    request: String,
    #[serde(default = "ok")]
    status: u16,
    #[serde(rename = "type", default = "json")]
    content_type: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    reply: String,
    #[serde(default)]
    document: String,
    #[serde(default)]
    filler: usize,
    #[serde(default)]
    price: CasePrice,
    expect: Expect,
}

const fn ok() -> u16 {
    200
}

fn json() -> String {
    "application/json".to_owned()
}

#[derive(Deserialize)]
struct Expect {
    charge: Option<i64>,
    #[serde(default)]
    tasks: Vec<toml::Table>,
}

/// A price by use that has a worth for everything, where a case has none of its own.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CasePrice {
    fixed_quota: Option<i64>,
    ratio: Option<String>,
    completion_ratio: String,
    cache_ratio: String,
    image_ratio: String,
    audio_ratio: String,
    max_charge: Option<i64>,
    meters: String,
    units: String,
    tiers: String,
}

impl Default for CasePrice {
    fn default() -> Self {
        let units = r#"{"images":100,"videos":1000,"seconds":10,"searches":50,"pages":7,
            "items":7,"credits":7}"#;
        Self {
            fixed_quota: None,
            ratio: Some("2".to_owned()),
            completion_ratio: "4".to_owned(),
            cache_ratio: "0.5".to_owned(),
            image_ratio: "3".to_owned(),
            audio_ratio: "5".to_owned(),
            max_charge: None,
            meters: r#"{"cache_write":1.25}"#.to_owned(),
            units: units.to_owned(),
            tiers: String::new(),
        }
    }
}

impl CasePrice {
    fn freeze(&self, request: &str) -> FrozenPrice {
        let ratio = |text: &str| Some(text.parse::<Ratio>().unwrap());
        let schedule = |meters: &str, units: &str| {
            Schedule::parse(meters, units, &self.tiers).unwrap().map(Arc::new)
        };
        let row = match self.fixed_quota {
            Some(fixed) => PriceRow {
                fixed_quota: Some(Quota(fixed)),
                schedule: schedule("", ""),
                ..PriceRow::default()
            },
            None => PriceRow {
                ratio: self.ratio.as_deref().and_then(ratio),
                completion_ratio: ratio(&self.completion_ratio),
                cache_ratio: ratio(&self.cache_ratio),
                image_ratio: ratio(&self.image_ratio),
                audio_ratio: ratio(&self.audio_ratio),
                max_charge: self.max_charge.map(Quota),
                schedule: schedule(&self.meters, &self.units),
                ..PriceRow::default()
            },
        };
        match Pricing::freeze(Some(&row), Ratio::ONE, Ratio::ONE).unwrap() {
            Pricing::Priced(price) => {
                egress::price_for(price, RequestTexts::of_body(request.as_bytes())).unwrap()
            }
            Pricing::Free => panic!("free"),
        }
    }
}

fn cases() -> Vec<(String, String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/cases");
    let mut cases = Vec::new();
    for protocol in std::fs::read_dir(folder).unwrap() {
        let protocol = protocol.unwrap();
        let name = protocol.file_name().into_string().unwrap();
        for file in std::fs::read_dir(protocol.path()).unwrap() {
            let path = file.unwrap().path();
            let case: Case = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            cases.push((name.clone(), path.display().to_string(), case));
        }
    }
    cases
}

impl Case {
    fn protocol(&self, library: &Library, name: &str) -> Arc<Protocol> {
        match self.document.as_str() {
            "" => Arc::clone(library.get(name).unwrap()),
            own => library.clone().add(own).unwrap(),
        }
    }

    fn route<'a>(&self, protocol: &'a Protocol) -> RouteMatch<'a> {
        let (method, path) = self.call.split_once(' ').unwrap();
        protocol.route(method, path.split('?').next().unwrap()).unwrap()
    }

    fn body(&self) -> Vec<u8> {
        self.reply.replace("FILLER", &"QUJDREVGR0g".repeat(self.filler / 11)).into_bytes()
    }

    /// What a call with this reply is charged.
    fn charge(&self, protocol: &Protocol, coding: Option<&'static str>, body: &[u8]) -> i64 {
        let route = self.route(protocol);
        let price = self.price.freeze(&self.request);
        let request = route.route.read_request(&route.captures, "", self.request.as_bytes());
        let asked = Asked {
            input_tokens: request.input_tokens,
            allows_nothing: request.output_limit == Some(0),
            units: Some(Arc::new(request.units)),
            ..Asked::default()
        };
        let needs = PriceNeeds::of(Some(&price));
        let is_by_envelope = *protocol.name == *"custompass" && self.call.contains(" /pass/");
        let read_as = match is_by_envelope {
            true => ReadAs::Envelope(needs),
            false => ReadAs::Route { route: Arc::clone(route.route), asked, needs },
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(&self.content_type).unwrap());
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        if let Some(coding) = coding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        let mut reading = read_whole(&headers, body, &read_as);
        if !reading.failed || reading.usage.is_some() {
            reading.usage = price.counts_of(reading.usage.take(), Some(&request.units));
        }
        let held = price.first_hold(None).unwrap();
        let end = match self.status {
            ..400 => {
                CallEnd::Reply { reading: &reading, end: BodyEnd::Complete, seen: Seen::Nothing }
            }
            400.. => CallEnd::BadStatus,
        };
        match decide(Terms::Paid { price: &price, held }, end).money {
            Money::Charge { amount, .. } => amount.0,
            Money::Release { .. } => 0,
            money => panic!("{money:?}"),
        }
    }

    /// What the first task that the reply reports is charged at its end.
    fn charge_of_task(&self, protocol: &Protocol, body: &[u8]) -> i64 {
        let route = self.route(protocol);
        let rules = route.route.tasks.as_ref().or(protocol.task.as_ref()).unwrap();
        let task = match self.call.contains("list-by-condition") {
            true => rules.read_all(body).swap_remove(0),
            false => rules.read_one(body),
        };
        if task.status != domain::TaskStatus::Completed || task.made_nothing {
            return 0;
        }
        // Most tasks are priced by what was made, or by the call.
        let ratio = self.price.ratio.clone().filter(|_| task.meters.usage().is_some());
        let price = CasePrice { ratio, ..self.price.clone() }.freeze(&self.request);
        let usage = |meters: Meters| Usage {
            meters: Some(Box::new(meters)),
            ..meters.usage().unwrap_or_default()
        };
        let usage = (!task.meters.is_empty()).then(|| usage(task.meters));
        let usage = price.counts_of(usage, None);
        price.charge_or(price.first_hold(None).unwrap(), usage.as_ref()).0.0
    }
}

#[test]
fn every_case_charges_what_it_says() {
    let library = Library::builtin().unwrap();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (name, label, case) in cases() {
        let Some(expected) = case.expect.charge else { continue };
        let protocol = case.protocol(library, &name);
        let body = case.body();
        let mut charges = Vec::new();
        if case.expect.tasks.is_empty() {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&body).unwrap();
            let zipped = encoder.finish().unwrap();
            charges.push(case.charge(&protocol, None, &body));
            charges.push(case.charge(&protocol, Some("gzip"), &zipped));
        } else {
            charges.push(case.charge_of_task(&protocol, &body));
        }
        checked += 1;
        if charges.iter().any(|charge| *charge != expected) {
            wrong.push(format!("{label}: {charges:?}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 100, "{checked}");
}
