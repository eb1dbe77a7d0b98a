package siptx

import (
	"bytes"
	"strconv"
)

type frameKind uint8

const (
	frameMore    frameKind = iota // wait for more octets
	frameMessage                  // one whole message
	framePing                     // a double CRLF, to be answered with a CRLF (RFC 5626 §3.5.1)
	frameBroken                   // where the next message begins cannot be known
)

// A framer cuts a stream into messages (RFC 3261 §18.3). It looks at nothing but the
// end of the header fields and Content-Length, which a stream must have.
type framer struct {
	buf     []byte
	start   int // of what next has not returned yet
	scanned int // from start: no end of header fields in there
	blank   int // CRLFs since the last message
	// pong takes a CRLF that answers a ping of ours; nil = there are none.
	pong func() bool
}

// room returns where to read to. Messages returned before become invalid.
func (f *framer) room() []byte {
	if f.start > 0 {
		n := copy(f.buf, f.buf[f.start:])
		f.buf, f.start = f.buf[:n], 0
	}
	if len(f.buf) == cap(f.buf) {
		grown := make([]byte, len(f.buf), max(4096, 2*cap(f.buf)))
		copy(grown, f.buf)
		f.buf = grown
	}
	return f.buf[len(f.buf):cap(f.buf)]
}

func (f *framer) filled(n int) { f.buf = f.buf[:len(f.buf)+n] }

func (f *framer) empty() bool { return f.start == len(f.buf) }

// next returns the next message, valid until room, or says why there is none: with
// frameBroken come the start line and header fields, if they are whole.
func (f *framer) next() ([]byte, frameKind) {
	for f.scanned == 0 && len(f.buf)-f.start >= 2 && f.buf[f.start] == '\r' && f.buf[f.start+1] == '\n' {
		f.start += 2
		if f.pong != nil && f.pong() {
			continue
		}
		f.blank++
		if f.blank%2 == 0 {
			return nil, framePing
		}
	}
	rest := f.buf[f.start:]
	end := bytes.Index(rest[f.scanned:], []byte("\r\n\r\n"))
	if end < 0 {
		if len(rest) > maxHead {
			return nil, frameBroken
		}
		if len(rest) > 3 {
			f.scanned = len(rest) - 3
		}
		return nil, frameMore
	}
	head := f.scanned + end + 2
	body, ok := contentLength(rest[:head])
	total := head + 2 + body
	switch {
	case !ok || head > maxHead || total > maxMessage:
		return rest[:head], frameBroken
	case len(rest) < total:
		f.scanned += end // found again at once
		return nil, frameMore
	}
	f.start += total
	f.scanned, f.blank = 0, 0
	return rest[:total], frameMessage
}

// contentLength finds Content-Length in a head; false if it is missing, no number,
// or comes twice with different values.
func contentLength(head []byte) (int, bool) {
	length := -1
	for len(head) > 0 {
		line := head
		if i := bytes.Index(head, []byte("\r\n")); i >= 0 {
			line, head = head[:i], head[i+2:]
			for len(head) > 0 && (head[0] == ' ' || head[0] == '\t') { // folded
				i := bytes.Index(head, []byte("\r\n"))
				if i < 0 {
					return 0, false
				}
				line = line[:len(line)+2+i]
				head = head[i+2:]
			}
		} else {
			head = nil
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			continue
		}
		name := bytes.TrimRight(line[:colon], " \t")
		if !bytes.EqualFold(name, []byte("Content-Length")) && !bytes.EqualFold(name, []byte("l")) {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(line[colon+1:])), 10, 31)
		if err != nil || length >= 0 && length != int(n) {
			return 0, false
		}
		length = int(n)
	}
	return length, length >= 0
}
