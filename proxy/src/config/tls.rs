//! `[tls]`: the certificate that clients are shown.
//!
//! Both files are read with the configuration, so that a certificate that cannot be used is a problem of the file.

use shardway_routing::document::{Found, Section};

use super::read::Reader;
use crate::tls::{self, Demand, Identity, Wrong};

/// What clients are offered.
#[derive(Debug, Clone)]
pub struct Tls {
    pub demand: Demand,
    pub identity: Identity,
}

pub(super) fn tls(section: Option<Section<'_>>, reader: &Reader<'_>) -> Option<Tls> {
    let mut section = section?;
    let (certificate, key) = (section.string("cert"), section.string("key"));
    let demand = match section.boolean("require") {
        Some(true) => Demand::Required,
        Some(false) | None => Demand::Optional,
    };
    if certificate.is_none() || key.is_none() {
        section.report_here(
            "both are needed: `cert`, the certificate with its chain, and `key`, each a PEM file",
        );
    }
    let tls = certificate.zip(key).and_then(|(certificate, key)| {
        let texts = (text(reader, &section, "cert", &certificate), text(reader, &section, "key", &key));
        let (Some(certificate_text), Some(key_text)) = texts else { return None };
        match Identity::new(&certificate_text, &key_text) {
            Ok(identity) => Some(Tls { demand, identity }),
            Err(wrong) => {
                let (name, found, why) = match wrong {
                    Wrong::Certificate(why) => ("cert", certificate, why),
                    Wrong::Key(why) => ("key", key, why),
                };
                section.report(name, &found.at, format!("{} {why}", found.value));
                None
            }
        }
    });
    section.finish();
    tls
}

fn text(reader: &Reader<'_>, section: &Section<'_>, key: &str, found: &Found<String>) -> Option<String> {
    match (reader.secrets.file)(&reader.folder.join(&found.value)) {
        Ok(text) => Some(text),
        Err(error) => {
            section.report(key, &found.at, format!("{} {}", found.value, tls::unreadable(&error)));
            None
        }
    }
}
