package sipua

import (
	"bytes"
	"strings"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// This file is about keys that are told by INFO, as it was before RFC 6086 gave
// it packages: application/dtmf-relay and application/dtmf, which nobody wrote
// down and everybody speaks.

const dtmfRelay = sip.ContentTypeHeader("application/dtmf-relay")

// onInfo takes a key that the peer pressed. An INFO without a body asks only
// whether the dialog is there (RFC 2976 §2.2).
func (l *leg) onInfo(tx *siptx.ServerTx, req *sip.Request) {
	digit, ok := infoDigit(req)
	if !ok && len(req.Body()) > 0 {
		l.ua.refuse(tx, 415)
		return
	}
	_ = l.ua.respond(tx, response(req, 200, "", nil, nil))
	if ok {
		l.tell(b2bua.Event{Kind: b2bua.EvDigit, Digit: digit, By: b2bua.ByInfo})
	}
}

// infoDigit reads the key of an INFO.
func infoDigit(m bearer) (digit byte, ok bool) {
	contentType := ""
	if ct := m.ContentType(); ct != nil {
		contentType = string(*ct)
	}
	switch kind, _ := mediaType(contentType); kind {
	case string(dtmfRelay):
		for line := range bytes.Lines(m.Body()) {
			name, value, found := strings.Cut(string(line), "=")
			if found && strings.EqualFold(strings.TrimSpace(name), "Signal") {
				return keyOf(strings.TrimSpace(value))
			}
		}
	case "application/dtmf":
		return keyOf(strings.TrimSpace(string(m.Body())))
	}
	return 0, false
}

// keyOf reads the name of a key; some write 10 and 11 for * and #, the event codes
// of RFC 4733.
func keyOf(s string) (digit byte, ok bool) {
	switch s {
	case "10":
		return '*', true
	case "11":
		return '#', true
	}
	s = strings.ToUpper(s)
	if len(s) != 1 || !strings.Contains("0123456789*#ABCD", s) {
		return 0, false
	}
	return s[0], true
}

// Press tells the peer of a key that the other side pressed (b2bua.Leg). It is
// built from nothing, as all that crosses; whether the peer understands it is not
// waited for.
func (l *leg) Press(digit byte) {
	l.mu.Lock()
	if l.phase != talking && l.phase != answered {
		l.mu.Unlock()
		return
	}
	l.dlg.seq++
	req, hop := l.dlg.within(sip.INFO, l.dlg.seq), l.dlg.hop(l.ours)
	l.mu.Unlock()
	ct := dtmfRelay
	req.AppendHeader(&ct)
	req.SetBody([]byte("Signal=" + string(rune(digit)) + "\r\nDuration=160\r\n"))
	if _, err := l.ask(req, hop, func(siptx.Outcome) {}); err != nil {
		l.log.Debug("info not sent", "error", err.Error())
	}
}
