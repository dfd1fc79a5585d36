//! The files of both repositories over HTTP/1.1: validators, ranges, and what goes wrong with them.

use super::{Inner, Requested};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use wardlink_protocol::distribution::PollTicket;

pub(super) async fn serve(stream: TcpStream, inner: Arc<Mutex<Inner>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let Some((path, fields)) = request(&mut stream).await else { return };
        if inner.lock().unwrap().is_down {
            return;
        }
        let (head, body, is_cut) = answer(&inner, &path, &fields);
        let hold = {
            let mut inner = inner.lock().unwrap();
            inner.hold.take_if(|of| path.contains(of.path))
        };
        let mut sent = 0;
        if let Some(hold) = hold {
            if hold.after > 0 {
                sent = hold.after.min(body.len());
                let begun = [head.as_bytes(), &body[..sent]].concat();
                if stream.write_all(&begun).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            while inner.lock().unwrap().released < hold.number {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        let head = if sent > 0 { "" } else { head.as_str() };
        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&body[sent..]).await.is_err() {
            return;
        }
        if is_cut {
            drop(stream.flush().await);
            return;
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, BTreeMap<String, String>)> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let path = line.split(' ').nth(1)?.to_owned();
    let mut fields = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some((path, fields)) };
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

fn answer(inner: &Mutex<Inner>, path: &str, fields: &BTreeMap<String, String>) -> (String, Vec<u8>, bool) {
    let mut inner = inner.lock().unwrap();
    let ticket = format!("Bearer {}", PollTicket::new(inner.ticket).to_text().as_str());
    let bearer = fields.get("authorization") == Some(&ticket);
    let from = fields.get("range").map(|range| range["bytes=".len()..].trim_end_matches('-').parse::<usize>().unwrap());
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8().unwrap().into_owned();
    let is_director = decoded.strip_prefix(&format!("/api/gateways/{}/director/", inner.me));
    let file = match is_director {
        Some(_) if !bearer => None,
        Some(rest) => match rest.strip_prefix("targets/") {
            Some(name) => inner.added.get(name).cloned(),
            None => inner.hospital.director.files.get(rest.trim_start_matches("metadata/")).cloned(),
        },
        None => {
            let maker = &inner.hospital.maker;
            let site = decoded.strip_prefix(&format!("/api/repositories/{maker}/"));
            let rest = site.or(decoded.strip_prefix(&format!("/mirror/{maker}/")));
            let is_mirror = decoded.starts_with("/mirror/");
            rest.and_then(|rest| match rest.strip_prefix("targets/") {
                Some(name) if is_mirror || !inner.has_no_images => inner.images().get(name).cloned(),
                Some(_) => None,
                None => inner.hospital.images.files.get(rest.strip_prefix("metadata/")?).cloned(),
            })
        }
    };
    let is_image = decoded.contains("/targets/");
    if let Some((says, has_length)) = inner.mirror_says.filter(|_| is_image && decoded.starts_with("/mirror/")) {
        inner.requests.push(Requested { path: decoded, bearer, conditional: false, from, status: 200 });
        let length = if has_length { format!("Content-Length: {}\r\n", says.len()) } else { String::new() };
        return (format!("HTTP/1.1 200 Said\r\n{length}\r\n"), says.to_vec(), true);
    }
    let etag = file.as_ref().map(|bytes| format!("\"{}\"", data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))));
    let known = fields.get("if-none-match");
    let (status, mut body) = match &file {
        None if is_director.is_some() && !bearer => (401, Vec::new()),
        None => (404, Vec::new()),
        Some(_) if known.is_some() && known == etag.as_ref() => (304, Vec::new()),
        Some(bytes) => match from {
            Some(from) if from < bytes.len() => (206, bytes[from..].to_vec()),
            Some(_) => (416, Vec::new()),
            None => (200, bytes.clone()),
        },
    };
    let conditional = known.is_some();
    inner.requests.push(Requested { path: decoded, bearer, conditional, from, status });
    if is_image && inner.corrupt && !body.is_empty() {
        body[0] ^= 1;
    }
    let length = body.len();
    let cut = if is_image && status < 300 { inner.cut_after.take() } else { None };
    if let Some(cut) = cut {
        body.truncate(cut);
    }
    let whole = file.as_ref().map_or(0, Vec::len);
    let range =
        from.filter(|_| status == 206).map(|from| format!("Content-Range: bytes {from}-{}/{whole}\r\n", whole - 1));
    let etag = etag.map(|etag| format!("ETag: {etag}\r\n")).unwrap_or_default();
    let date = inner.behind.map(|behind| httpdate::fmt_http_date(SystemTime::now() - behind));
    let date = date.map(|date| format!("Date: {date}\r\n")).unwrap_or_default();
    let range = range.unwrap_or_default();
    let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n{date}{etag}{range}\r\n");
    (head, body, cut.is_some())
}
