//! As much of HTTP as a Hub on this machine needs: each connection brings one request.

use std::io::{BufRead, Write};
use std::net::{Shutdown, TcpStream};

pub struct Head {
    pub method: String,
    pub path: String,
    lines: Vec<String>,
}

impl Head {
    /// `None`: the client went away.
    pub fn read(reader: &mut impl BufRead) -> Option<Self> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(n) if n > 2 => lines.push(line.trim().to_owned()),
                Ok(2) if !lines.is_empty() => break,
                _ => return None,
            }
        }
        let mut first = lines[0].split(' ');
        let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
        Some(Self { method, path, lines })
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let mut pairs = self.lines.iter().filter_map(|line| line.split_once(':'));
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }

    pub fn token(&self) -> Option<String> {
        self.header("authorization").map(|value| value.trim_start_matches("Bearer ").to_owned())
    }

    /// At most `most` bytes of what comes with it; `None` if the client broke off.
    pub fn body(&self, reader: &mut impl BufRead, most: usize) -> Option<Vec<u8>> {
        assert_eq!(self.header("transfer-encoding"), None, "storage hosts take no chunks");
        let length: usize = self.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length.min(most)];
        reader.read_exact(&mut body).ok().map(|()| body)
    }
}

pub fn reply(out: &mut TcpStream, status: &str, head: &str, body: &[u8]) -> std::io::Result<()> {
    write!(out, "HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    out.write_all(body)?;
    out.shutdown(Shutdown::Write)
}

pub fn refuse(out: &mut TcpStream, status: u16, code: &str, said: &str) -> std::io::Result<()> {
    let code = if code.is_empty() { String::new() } else { format!("X-Error-Code: {code}\r\n") };
    reply(out, &format!("{status} Refused"), &format!("{code}X-Error-Message: {said}\r\n"), b"{}")
}
