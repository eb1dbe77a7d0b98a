package phone

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/internal/e164"
	"tandem/internal/voice/siptx"
)

// A record is everything that was sent and received for one Call-ID.
type record struct {
	mu    sync.Mutex
	start time.Time
	steps []Step
	raw   [][]byte
}

// A Step is one SIP message.
type Step struct {
	At    time.Time
	After time.Duration // since the first message of the call
	Out   bool          // sent by us
	Again bool          // a retransmission
	Line  string        // start line, numbers as they are
	CSeq  string        // its value
	Raw   []byte        // all of it
}

func (r *record) message(t siptx.Traced) {
	raw := bytes.Clone(t.Raw)
	line, _, _ := bytes.Cut(raw, []byte("\r\n"))
	cseq, _ := field(raw, "cseq", "")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.start.IsZero() {
		r.start = t.At
	}
	r.steps = append(r.steps, Step{At: t.At, After: t.At.Sub(r.start), Out: t.Out, Again: t.Retransmission,
		Line: string(line), CSeq: cseq, Raw: raw})
	if !t.Out {
		r.raw = append(r.raw, raw)
	}
}

func (r *record) received(raw []byte) {
	r.mu.Lock()
	r.raw = append(r.raw, raw)
	r.mu.Unlock()
}

// field finds a header field in the head of a message, by its name in lower case or its
// compact form.
func field(raw []byte, name, compact string) (string, bool) {
	head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		n, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		if n := strings.ToLower(string(bytes.TrimSpace(n))); n == name || n == compact {
			return string(bytes.TrimSpace(value)), true
		}
	}
	return "", false
}

func callID(raw []byte) (string, bool) { return field(raw, "call-id", "i") }

// Ladder gives every SIP message of the call so far, in order.
func (c *Call) Ladder() []Step {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return slices.Clone(c.log.steps)
}

// Raw gives every byte received for the call so far: SIP messages, RTP and RTCP
// datagrams, one each, in order.
func (c *Call) Raw() [][]byte {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return slices.Clone(c.log.raw)
}

// Digit reports whether the message is an INFO for a digit that is pressed.
func (s Step) Digit() bool {
	kind, _ := field(s.Raw, "content-type", "c")
	kind, _, _ = strings.Cut(kind, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	return strings.HasPrefix(s.Line, "INFO ") && (kind == typeRelay || kind == typeDTMF)
}

// WriteLadder prints a call's messages, one a line. Numbers are hidden to country
// code and last two digits unless reveal is set. Digits are never printed: they may be
// a PIN.
func WriteLadder(w io.Writer, steps []Step, reveal bool) error {
	for _, s := range steps {
		arrow, note := "<--", ""
		if s.Out {
			arrow = "-->"
		}
		line := strings.TrimSuffix(s.Line, " SIP/2.0")
		if status, ok := strings.CutPrefix(line, "SIP/2.0 "); ok {
			_, method, _ := strings.Cut(s.CSeq, " ")
			line = status + " (" + method + ")"
		}
		if _, description, ok := bytes.Cut(s.Raw, []byte("\r\n\r\n")); ok && bytes.HasPrefix(description, []byte("v=0")) {
			note = "  with SDP"
		}
		if s.Digit() {
			note = "  with digit"
		}
		if s.Again {
			note += "  again"
		}
		if !reveal {
			line = Hide(line)
		}
		if _, err := fmt.Fprintf(w, "%9.3f s  %s  %s%s\n", s.After.Seconds(), arrow, line, note); err != nil {
			return err
		}
	}
	return nil
}

// Hide replaces each telephone number in text, 7 digits or more with or without
// separators, by its country code, if it is written with one, and its last two digits.
func Hide(text string) string {
	return numbers.ReplaceAllStringFunc(text, func(s string) string {
		s = encoded.Replace(s)
		digits := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, s)
		if len(digits) < 7 {
			return s
		}
		if strings.HasPrefix(s, "+") {
			if n, err := e164.Parse("+" + digits); err == nil {
				return n.Hidden()
			}
		}
		return "…" + digits[len(digits)-2:]
	})
}

// numbers matches a plus or a digit, and digits with single separators between them.
// Dots are none here: they would take addresses for numbers.
var (
	numbers = regexp.MustCompile(`(?:\+|%2[Bb])?[0-9](?:(?:[-() ]|%20)?[0-9]){6,}`)
	encoded = strings.NewReplacer("%2B", "+", "%2b", "+", "%20", "")
)
