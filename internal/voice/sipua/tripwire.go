package sipua

import (
	"bytes"
	"errors"

	"tandem/internal/e164"
	"tandem/internal/voice/b2bua"
)

// This file is the tripwire behind the header policy: it sees every
// message before it is sent. On a hit the message is not sent, the call is ended
// and an alarm raised.

// errLeak is what the tripwire answers; it tells nothing of what it found.
var errLeak = errors.New("a hidden number stood in the message")

// check looks for what is hidden from the legs of a Call-ID, nearly always one.
func (ua *Agent) check(callID string, raw []byte) error {
	ua.mu.Lock()
	legs := ua.byCallID[callID]
	ua.mu.Unlock()
	for _, l := range legs {
		w := l.watch.Load()
		if w == nil || !leaks(w.hidden, raw) {
			continue
		}
		ua.blocked.Add(1)
		ua.o.Log.Error("a message that would have shown a hidden number was stopped", "call", string(l.call), "leg", l.name)
		w.inbox(b2bua.Event{Kind: b2bua.EvBlocked})
		return errLeak
	}
	return nil
}

// leaks looks through what we wrote ourselves. What a message must repeat of the
// peer's own words (the headers of a dialog) goes back to its writer; looking
// there would let a party test guesses of the hidden number.
func leaks(f e164.Finder, raw []byte) bool {
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	if leaksInBody(f, body) {
		return true
	}
	ours := bytes.HasPrefix(raw, []byte("INVITE ")) && !inDialog(head)
	for first := true; len(head) > 0; first = false {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		if !credentials(line) && (ours || !(first || repeated(line))) && f.Found(line) {
			return true
		}
	}
	return false
}

// leaksInBody looks at a session description line by line. The small numbers of
// m= and o= (payload numbers, which are the peer's choice, and versions) are no
// part of one another: read as one they could spell any number.
func leaksInBody(f e164.Finder, body []byte) bool {
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte("\r\n"))
		if !bytes.HasPrefix(line, []byte("m=")) && !bytes.HasPrefix(line, []byte("o=")) {
			if f.Found(line) {
				return true
			}
			continue
		}
		for word := range bytes.FieldsSeq(line) {
			if f.Found(word) {
				return true
			}
		}
	}
	return false
}

func inDialog(head []byte) bool {
	i := bytes.Index(head, []byte("\r\nTo: "))
	if i < 0 {
		return false
	}
	line, _, _ := bytes.Cut(head[i+2:], []byte("\r\n"))
	return bytes.Contains(line, []byte(";tag="))
}

// credentials reports whether a header field answers a challenge: with the realm
// and nonce that the peer wrote, and otherwise with what stands elsewhere too.
func credentials(line []byte) bool {
	return bytes.HasPrefix(line, []byte("Authorization:")) || bytes.HasPrefix(line, []byte("Proxy-Authorization:"))
}

// repeated reports whether a header field says again what the peer wrote, or is a
// number that we have drawn (RSeq) and that may look like any other.
func repeated(line []byte) bool {
	for _, name := range []string{"Via:", "From:", "To:", "Call-ID:", "CSeq:", "Record-Route:", "Route:", "Timestamp:", "Unsupported:", "RAck:", "RSeq:"} {
		if bytes.HasPrefix(line, []byte(name)) {
			return true
		}
	}
	return false
}
