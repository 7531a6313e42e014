//! The messages that manage nodes: HELLO, BYE, CHILDSUPDATE, ERROR, KILL, PING, PONG, REDIRECT.

use super::error::Fault;
use super::read::bounded;
use super::tree::Element;
use super::write::Out;
use crate::ids::{Incarnation, NodeId, PipelineId};
use crate::limits;
use crate::message::{
    Bye, Capacity, Child, ChildsUpdate, Echo, ErrorCode, ErrorReport, Hello, Identity, Kill,
    ParentOffer, Redirect,
};
use crate::pipeline::Wrapped;
use crate::text::trim;
use crate::time::Millis;

const SERVER: &str = "minaServerAddress";
const CLIENT: &str = "minaClientAddress";

pub(super) fn write_hello(out: &mut Out, hello: &Hello) {
    out.element("info", &[], |out| {
        out.leaf("name", &hello.name);
        if let Some(server) = &hello.server {
            out.host_port(SERVER, server);
        }
        if let Some(client) = &hello.client {
            out.host_port(CLIENT, client);
        }
        // Always there, as in the thesis.
        out.element("pipelines", &[], |out| {
            hello.pipelines.iter().for_each(|id| out.leaf("pipeid", id));
        });
        if hello.version != 0 {
            out.leaf("version", hello.version);
        }
        out.leaf_opt("role", hello.role);
        if hello.incarnation.0 != 0 {
            out.leaf("incarnation", hello.incarnation);
        }
        if hello.capacity != Capacity::default() {
            let Capacity { children, viewers, egress } = &hello.capacity;
            out.empty(
                "capacity",
                &[("children", children), ("viewers", viewers), ("egress", egress)],
            );
        }
        out.words("region", &hello.region, limits::MAX_WORD);
        out.nested("labels", &hello.labels, |out, (name, value)| {
            out.empty("label", &[("name", name), ("value", value)]);
        });
        out.media(&hello.media);
        out.leaf_opt("http", hello.http.as_ref());
        out.bytes_opt("csr", hello.csr.as_ref());
        out.bytes_opt("wrapKey", hello.wrap_key.as_ref());
        out.bytes_opt("ticket", hello.ticket.as_ref());
        out.bytes_opt("nonce", hello.nonce.as_ref());
        if hello.warm {
            out.leaf("warm", true);
        }
    });
}

pub(super) fn read_hello(root: &Element) -> Result<Hello, Fault> {
    let info = root.child("info")?;
    let address = |name| info.only(name)?.map(Element::host_port).transpose();
    let label = |element: &Element| {
        let name: String = element.need("name")?;
        let value: String = element.need("value")?;
        if name.is_empty() {
            return Err(Fault::value("label", &name));
        }
        bounded(&name, "label", limits::MAX_WORD)?;
        bounded(&value, "label", limits::MAX_WORD)?;
        Ok((name, value))
    };
    let capacity = |element: &Element| {
        Ok(Capacity {
            children: element.parse("children")?.unwrap_or(0),
            viewers: element.parse("viewers")?.unwrap_or(0),
            egress: element.parse("egress")?.unwrap_or(0),
        })
    };
    Ok(Hello {
        name: info.need_leaf("name")?,
        server: address(SERVER)?,
        client: address(CLIENT)?,
        pipelines: info.nested(
            ("pipelines", "pipeid"),
            ("pipelines", limits::MAX_PIPELINES),
            Element::value::<PipelineId>,
        )?,
        version: info.leaf("version")?.unwrap_or(0),
        role: info.leaf("role")?,
        incarnation: info.leaf("incarnation")?.unwrap_or_default(),
        capacity: info.only("capacity")?.map(capacity).transpose()?.unwrap_or_default(),
        region: info.words("region", limits::MAX_WORD)?,
        labels: info.nested(("labels", "label"), ("labels", limits::MAX_LABELS), label)?,
        media: info.media()?,
        http: info.only("http")?.map(read_url).transpose()?,
        csr: info.bytes("csr", 1..=limits::MAX_CSR)?,
        wrap_key: info.bytes("wrapKey", limits::KEY_BYTES..=limits::KEY_BYTES)?,
        ticket: info.bytes("ticket", 1..=limits::MAX_TICKET)?,
        nonce: info.bytes("nonce", limits::NONCE_BYTES..=limits::NONCE_BYTES)?,
        warm: info.leaf("warm")?.unwrap_or(false),
    })
}

/// A base URL: it ends up in redirects to browsers, so nothing but printable ASCII gets in.
fn read_url(element: &Element) -> Result<String, Fault> {
    let url = bounded(trim(&element.text), "http", limits::MAX_URL)?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let legal = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'`');
    match rest {
        Some(rest) if !rest.is_empty() && rest.bytes().all(legal) => Ok(url.to_owned()),
        _ => Err(Fault::value("http", url)),
    }
}

pub(super) fn write_bye(out: &mut Out, bye: &Bye) {
    out.words("reason", &bye.reason, limits::MAX_SENTENCE);
}

pub(super) fn read_bye(root: &Element) -> Result<Bye, Fault> {
    Ok(Bye { reason: root.words("reason", limits::MAX_SENTENCE)? })
}

/// Nodes that are gone, in CHILDSUPDATE and PIPEDEF.
pub(super) fn write_removed(out: &mut Out, removed: &[(NodeId, Incarnation)]) {
    out.nested("removed", removed, |out, (id, incarnation)| {
        out.empty("child", &[("id", id), ("incarnation", incarnation)]);
    });
}

pub(super) fn read_removed(
    root: &Element,
    bound: (&'static str, usize),
) -> Result<Vec<(NodeId, Incarnation)>, Fault> {
    root.nested(("removed", "child"), bound, |child| {
        Ok((child.need("id")?, child.need("incarnation")?))
    })
}

pub(super) fn write_childs_update(out: &mut Out, update: &ChildsUpdate) {
    write_removed(out, &update.removed);
    out.nested("added", &update.added, |out, child| {
        let Child { id, incarnation, parent, weight } = child;
        out.empty(
            "child",
            &[("id", id), ("incarnation", incarnation), ("parent", parent), ("weight", weight)],
        );
    });
}

pub(super) fn read_childs_update(root: &Element) -> Result<ChildsUpdate, Fault> {
    let bound = ("children", limits::MAX_CHILDREN);
    let added = |child: &Element| {
        let weight: u32 = child.need("weight")?;
        if weight == 0 {
            return Err(Fault::value("weight", "0"));
        }
        Ok(Child {
            id: child.need("id")?,
            incarnation: child.need("incarnation")?,
            parent: child.need("parent")?,
            weight,
        })
    };
    Ok(ChildsUpdate {
        added: root.nested(("added", "child"), bound, added)?,
        removed: read_removed(root, bound)?,
    })
}

pub(super) fn write_error(out: &mut Out, report: &ErrorReport) {
    out.leaf("code", report.code);
    out.words("text", &report.text, limits::MAX_SENTENCE);
    out.leaf_opt("failedTime", report.failed_time.map(|time| time.0));
    out.words("failedType", &report.failed_type, limits::MAX_TYPE);
}

pub(super) fn read_error(root: &Element) -> Result<ErrorReport, Fault> {
    // A code of a later version still is an error.
    let code = root.need_leaf::<String>("code")?.parse().unwrap_or(ErrorCode::Internal);
    Ok(ErrorReport {
        code,
        text: root.words("text", limits::MAX_SENTENCE)?,
        failed_time: root.leaf("failedTime")?.map(Millis),
        failed_type: root.words("failedType", limits::MAX_TYPE)?,
    })
}

pub(super) fn write_kill(out: &mut Out, kill: &Kill) {
    out.leaf("grace", kill.grace_secs);
    out.words("reason", &kill.reason, limits::MAX_SENTENCE);
}

pub(super) fn read_kill(root: &Element) -> Result<Kill, Fault> {
    Ok(Kill {
        grace_secs: root.need_leaf("grace")?,
        reason: root.words("reason", limits::MAX_SENTENCE)?,
    })
}

pub(super) fn write_echo(out: &mut Out, echo: &Echo) {
    out.words("echo", &echo.token, limits::MAX_ECHO);
}

pub(super) fn read_echo(root: &Element) -> Result<Echo, Fault> {
    Ok(Echo { token: root.words("echo", limits::MAX_ECHO)? })
}

pub(super) fn write_redirect(out: &mut Out, redirect: &Redirect) {
    out.leaf("rank", redirect.rank);
    out.leaf("mode", redirect.mode);
    if let Some(identity) = &redirect.identity {
        let names: super::write::Attributes<'_> =
            &[("id", &identity.id), ("incarnation", &identity.incarnation)];
        out.element("identity", names, |out| {
            out.bytes("certificate", &identity.certificate);
            out.bytes("authority", &identity.authority);
            out.bytes("ticketKey", &identity.ticket_key);
        });
    }
    out.nested("parents", &redirect.parents, |out, offer| {
        let ParentOffer { id, link, version, .. } = offer;
        let names: super::write::Attributes<'_> =
            &[("id", id), ("link", link), ("version", version)];
        // Receivers of version 1 do not know it.
        let names = if *version > 1 { names } else { &names[..2] };
        out.element("parent", names, |out| {
            out.host_port(SERVER, &offer.server);
            out.media(&offer.media);
            out.bytes("ticket", &offer.ticket);
            out.element("credential", &[], |out| write_wrapped(out, &offer.credential));
        });
    });
}

pub(super) fn read_redirect(root: &Element) -> Result<Redirect, Fault> {
    let identity = |element: &Element| {
        Ok(Identity {
            id: element.need("id")?,
            incarnation: element.need("incarnation")?,
            certificate: element.need_bytes("certificate", 1..=limits::MAX_CERTIFICATE)?,
            authority: element.need_bytes("authority", 1..=limits::MAX_CERTIFICATE)?,
            ticket_key: element.need_bytes("ticketKey", limits::KEY_BYTES..=limits::KEY_BYTES)?,
        })
    };
    let offer = |element: &Element| {
        Ok(ParentOffer {
            id: element.need("id")?,
            link: element.need("link")?,
            version: element.parse("version")?.unwrap_or(1),
            server: element.child(SERVER)?.host_port()?,
            media: element.media()?,
            ticket: element.need_bytes("ticket", 1..=limits::MAX_TICKET)?,
            credential: read_wrapped(element.child("credential")?)?,
        })
    };
    Ok(Redirect {
        rank: root.need_leaf("rank")?,
        mode: root.need_leaf("mode")?,
        identity: root.only("identity")?.map(identity).transpose()?,
        parents: root.nested(("parents", "parent"), ("parents", limits::MAX_PARENTS), offer)?,
    })
}

pub(super) fn write_wrapped(out: &mut Out, wrapped: &Wrapped) {
    out.bytes("enc", &wrapped.enc);
    out.bytes("sealed", &wrapped.sealed);
}

pub(super) fn read_wrapped(element: &Element) -> Result<Wrapped, Fault> {
    Ok(Wrapped {
        enc: element.need_bytes("enc", 1..=limits::MAX_ENC)?,
        sealed: element.need_bytes("sealed", 1..=limits::MAX_SEALED)?,
    })
}
