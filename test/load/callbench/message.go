package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// message is what the load needs of a SIP message. Its slices are of the datagram.
type message struct {
	status                        int    // 0: a request
	method                        string // of a request, or of the request that a response is for
	uri                           []byte // of a request
	vias                          []byte // whole lines
	from, to, callID, cseq, reach []byte // values; reach is that of Contact
}

var crlf = []byte("\r\n")

// read reads a message of the server under test, which writes long header
// names and no continuation lines.
func read(b []byte) (m message, ok bool) {
	first, rest, _ := bytes.Cut(b, crlf)
	start := bytes.SplitN(first, []byte(" "), 3)
	if len(start) < 3 {
		return m, false
	}
	if string(start[0]) == "SIP/2.0" {
		m.status, _ = strconv.Atoi(string(start[1]))
	} else {
		m.method, m.uri = string(start[0]), start[1]
	}
	for {
		line, next, found := bytes.Cut(rest, crlf)
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch string(name) {
		case "Via":
			m.vias = append(append(m.vias, line...), crlf...)
		case "From":
			m.from = value
		case "To":
			m.to = value
		case "Call-ID":
			m.callID = value
		case "CSeq":
			m.cseq = value
		case "Contact":
			m.reach = uriIn(value)
		}
		if rest = next; !found || len(line) == 0 {
			break
		}
	}
	_, method, _ := bytes.Cut(m.cseq, []byte(" "))
	if m.status > 0 {
		m.method = string(method)
	}
	return m, len(m.callID) > 0 && len(m.vias) > 0 && len(method) > 0
}

// clone is a copy that outlives the datagram.
func (m message) clone() message {
	m.uri, m.vias, m.from, m.to = bytes.Clone(m.uri), bytes.Clone(m.vias), bytes.Clone(m.from), bytes.Clone(m.to)
	m.callID, m.cseq, m.reach = bytes.Clone(m.callID), bytes.Clone(m.cseq), bytes.Clone(m.reach)
	return m
}

// uriIn takes the address out of "<sip:…>;parameters".
func uriIn(value []byte) []byte {
	if _, after, ok := bytes.Cut(value, []byte("<")); ok {
		value, _, _ = bytes.Cut(after, []byte(">"))
	}
	return value
}

// userOf is the user of a SIP URI.
func userOf(uri []byte) string {
	_, rest, _ := bytes.Cut(uri, []byte(":"))
	user, _, _ := bytes.Cut(rest, []byte("@"))
	return string(user)
}

// numbered reads the number of a call out of "k17@…" or "k17".
func numbered(text []byte) (int, bool) {
	text, _, _ = bytes.Cut(text, []byte("@"))
	n, err := strconv.Atoi(strings.TrimPrefix(string(text), "k"))
	return n, err == nil
}

const sdpLines = "o=- %[1]d 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\nm=audio %[2]d RTP/AVP 0 8 101\r\n" +
	"a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"

// session is a plain G.711 offer or answer. Nobody sends media, and its address
// is never one that the server's own media has.
func session(n int) string { return "v=0\r\n" + fmt.Sprintf(sdpLines, n, 20000+2*(n%20000)) }

// invite is the INVITE of call n from a party to a number.
func invite(n int, from, to string, local, server netip.AddrPort) []byte {
	body := session(n)
	return fmt.Appendf(nil, "INVITE sip:%[3]s@%[5]s SIP/2.0\r\nVia: SIP/2.0/UDP %[4]s;branch=z9hG4bKi%[1]d\r\nMax-Forwards: 70\r\n"+
		"From: <sip:%[2]s@%[4]s>;tag=a%[1]d\r\nTo: <sip:%[3]s@%[5]s>\r\nCall-ID: k%[1]d@%[4]s\r\nCSeq: 1 INVITE\r\n"+
		"Contact: <sip:%[2]s@%[4]s>\r\nP-Asserted-Identity: <sip:%[2]s@%[4]s>\r\nContent-Type: application/sdp\r\nContent-Length: %[6]d\r\n\r\n%[7]s",
		n, from, to, local, server, len(body), body)
}

// follow is the ACK (sequence number 1) or BYE (2) of call n: from, to and uri
// are those of the 200.
func follow(method string, n, cseq int, m message, local netip.AddrPort) []byte {
	return fmt.Appendf(nil, "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s%d\r\nMax-Forwards: 70\r\n"+
		"From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContent-Length: 0\r\n\r\n",
		method, m.reach, local, method, n, m.from, m.to, m.callID, cseq, method)
}

// acknowledge is the ACK of a refusal, which belongs to the INVITE's transaction.
func acknowledge(n int, m message, local, server netip.AddrPort) []byte {
	return fmt.Appendf(nil, "ACK sip:%[2]s SIP/2.0\r\nVia: SIP/2.0/UDP %[1]s;branch=z9hG4bKi%[3]d\r\nMax-Forwards: 70\r\n"+
		"From: %[4]s\r\nTo: %[5]s\r\nCall-ID: %[6]s\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n", local, server, n, m.from, m.to, m.callID)
}

// answer answers a request. tag goes to To if it has none; contact and body may be empty.
func answer(m message, status, tag, contact, body string) []byte {
	if !bytes.Contains(m.to, []byte(";tag=")) {
		tag = ";tag=" + tag
	} else {
		tag = ""
	}
	if contact != "" {
		contact = "Contact: <" + contact + ">\r\n"
	}
	if body != "" {
		contact += "Content-Type: application/sdp\r\n"
	}
	return fmt.Appendf(nil, "SIP/2.0 %s\r\n%sFrom: %s\r\nTo: %s%s\r\nCall-ID: %s\r\nCSeq: %s\r\n%sContent-Length: %d\r\n\r\n%s",
		status, m.vias, m.from, m.to, tag, m.callID, m.cseq, contact, len(body), body)
}
