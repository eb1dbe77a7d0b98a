package demo

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"tandem/internal/voice/phone"
)

// A teller writes what happens and remembers what did not hold. It may be used
// from any goroutine.
type teller struct {
	w      io.Writer
	colour bool

	mu     sync.Mutex
	err    error // the first failure of w
	failed []string
}

// The colours (ECMA-48 SGR).
const (
	bold  = "1"
	green = "32"
	red   = "31"
	faint = "2"
)

func (t *teller) paint(sgr, text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

func (t *teller) line(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format+"\n", args...)
	}
}

func (t *teller) title(text string) { t.line("\n%s\n", t.paint(bold, text)) }

func (t *teller) table(rows [][2]string) {
	for _, row := range rows {
		t.line("  %-16s %s", row[0], row[1])
	}
}

// check tells something that must hold, and whether it does.
func (t *teller) check(holds bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	mark := t.paint(green, "ok")
	if !holds {
		mark = t.paint(red, "NOT SO")
		t.mu.Lock()
		t.failed = append(t.failed, text)
		t.mu.Unlock()
	}
	t.line("  %s  %s", mark, text)
}

// failure is an error if anything did not hold.
func (t *teller) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.failed) == 0 {
		return t.err
	}
	return errors.New("not so: " + strings.Join(t.failed, "; not so: "))
}

// lane is the width of a leg in a ladder.
const lane = 32

// A rung is a line of a ladder: one SIP message on one of the legs.
type rung struct {
	phone.Step
	far bool // on the callee's leg
}

// legs are what both ends of a call have sent and received.
type legs struct {
	caller, callee string // names
	near, far      []phone.Step
}

// ladder draws both legs of a call, the caller on the left. Numbers are shown:
// they are invented.
func (t *teller) ladder(l legs) {
	var rungs []rung
	for _, s := range l.near {
		rungs = append(rungs, rung{Step: s})
	}
	for _, s := range l.far {
		rungs = append(rungs, rung{s, true})
	}
	slices.SortStableFunc(rungs, func(a, b rung) int { return a.At.Compare(b.At) })
	if len(rungs) == 0 {
		return
	}
	t.line("  %9s  %-*s%-*s%s", "seconds", lane, l.caller, lane+1, " Tandem", l.callee)
	talked := false
	for _, r := range rungs {
		if strings.HasPrefix(r.Line, "BYE ") && !talked {
			talked = true
			voice := t.paint(faint, centred("· RTP ·"))
			t.line("  %9s  |%s|%s|", "", voice, voice)
		}
		left, right := strings.Repeat(" ", lane-1), r.arrow()
		if !r.far {
			left, right = right, left
		}
		t.line("  %9.3f  |%s|%s|", r.At.Sub(rungs[0].At).Seconds(), left, right)
	}
	t.line("")
}

// arrow draws the message from where it was sent to where it was received.
func (r rung) arrow() string {
	text := r.text()
	fill := strings.Repeat("-", max(lane-5-utf8.RuneCountInString(text), 1))
	if r.Out != r.far { // from the left
		return "- " + text + " " + fill + ">"
	}
	return "<" + fill + " " + text + " -"
}

// text is the start line in short: method and number, or status.
func (r rung) text() string {
	text := strings.TrimSuffix(r.Line, " SIP/2.0")
	method, uri, _ := strings.Cut(text, " ")
	if status, ok := strings.CutPrefix(text, "SIP/2.0 "); ok {
		text = status
	} else {
		text = method
		if _, user, ok := strings.Cut(uri, "sip:"); ok && method == "INVITE" {
			user, _, _ = strings.Cut(user, "@")
			text += " " + user
		}
	}
	if r.Again {
		text += " again"
	}
	if runes := []rune(text); len(runes) > lane-6 {
		return string(runes[:lane-7]) + "…"
	}
	return text
}

func centred(text string) string {
	space := lane - 1 - utf8.RuneCountInString(text)
	return strings.Repeat(" ", space/2) + text + strings.Repeat(" ", space-space/2)
}
