package testkit

import (
	"bytes"
	"slices"

	"tandem/internal/voice/phone"
)

// merge puts the messages of all legs into one order that is the same in every
// run. Clock times are not: what Tandem sends on two legs at once reaches two phones
// in any order. So the order follows from cause and effect as far as the messages tell it:
//
//   - the order within a leg is kept;
//   - a 100 follows its request at once;
//   - what Tandem passes on comes after what it passes on (see effect);
//   - a phone begins something new only when nothing is under way any more;
//   - what Tandem refuses of its own accord comes after all that it does besides;
//   - otherwise the leg that stands first in the chart comes first.
//
// Only where that leaves nothing, or two beginnings, the clock decides.
//
// Of a caller who is asked for a PIN, asked says that his INVITE is answered by
// Tandem, and that nobody is rung before he has pressed his keys.
//
// joined says that two of the phones call each other: Tandem answers both and
// cancels what rings of its own accord.
func merge(legs []Leg, asked, joined bool) []arrow {
	m := &merger{asked: asked, joined: joined, legs: make([][]phone.Step, len(legs)), told: make(map[effect]int), passed: make(map[effect]int)}
	for i, l := range legs {
		m.legs[i] = slices.DeleteFunc(slices.Clone(l.Steps), func(s phone.Step) bool { return s.Again })
	}
	var out []arrow
	for {
		leg := m.choose()
		if leg < 0 {
			return out
		}
		s := m.legs[leg][0]
		m.legs[leg] = m.legs[leg][1:]
		if e, ok := effectOf(s); ok {
			if s.Out {
				m.told[e]++
			} else {
				m.passed[e]++
			}
		}
		out = append(out, arrow{leg, s})
	}
}

// An effect is a kind of message that one leg sends and another gets.
type effect struct {
	method string
	class  byte // 0 for a request, else the first digit of the status; '4' for all failures
}

type merger struct {
	asked  bool
	joined bool
	legs   [][]phone.Step // what is left of each
	told   map[effect]int // by phones
	passed map[effect]int // by Tandem
}

// choose gives the leg whose next message comes next, -1 at the end.
func (m *merger) choose() int {
	for i, l := range m.legs {
		if len(l) > 0 && !l[0].Out && status(l[0]) == "100" {
			return i
		}
	}
	for i, l := range m.legs {
		if len(l) > 0 && !begins(l[0]) && !m.waits(i) {
			return i
		}
	}
	if i := m.earliest(begins); i >= 0 {
		return i
	}
	if slices.ContainsFunc(m.legs, func(l []phone.Step) bool { return len(l) > 0 && refuses(l[0]) }) {
		if i := m.earliest(func(s phone.Step) bool { return !refuses(s) }); i >= 0 {
			return i
		}
	}
	return m.earliest(func(phone.Step) bool { return true })
}

// earliest gives the leg with the earliest next message of some kind.
func (m *merger) earliest(of func(phone.Step) bool) int {
	first := -1
	for i, l := range m.legs {
		if len(l) > 0 && of(l[0]) && (first < 0 || l[0].At.Before(m.legs[first][0].At)) {
			first = i
		}
	}
	return first
}

// refuses reports whether a message is Tandem's refusal of a phone's INVITE.
func refuses(s phone.Step) bool {
	e, ok := effectOf(s)
	return ok && !s.Out && e == effect{method: "INVITE", class: '4'}
}

// begins reports whether a message starts something by a phone's own choice.
func begins(s phone.Step) bool {
	return s.Out && status(s) == "" && method(s) != "ACK" && method(s) != "PRACK"
}

// waits reports whether the next message of a leg is passed on from a message that
// is not yet drawn. A failure of an INVITE waits for all that the other legs still
// have to do with an INVITE: a hunt tells the caller last.
func (m *merger) waits(leg int) bool {
	s := m.legs[leg][0]
	e, ok := effectOf(s)
	switch {
	case s.Out || !ok:
		return false
	case m.asked && leg == 0 && e.method == "INVITE":
		return false
	case m.joined && (e == effect{"INVITE", '2'} || e == effect{method: "CANCEL"}):
		return slices.ContainsFunc(m.legs, func(l []phone.Step) bool {
			return slices.ContainsFunc(l, func(s phone.Step) bool { return s.Out && method(s) == "INVITE" && status(s) == "" })
		})
	case e == effect{method: "CANCEL"} && m.told[effect{"INVITE", '2'}] > 0: // another number was quicker
		return false
	case m.asked && leg > 0 && e == effect{method: "INVITE"}:
		return slices.ContainsFunc(m.legs[0], func(s phone.Step) bool {
			return method(s) == "INVITE" || method(s) == "ACK" || method(s) == "INFO"
		})
	}
	if e.class == '4' && e.method == "INVITE" {
		for i, l := range m.legs {
			if i != leg && slices.ContainsFunc(l, func(s phone.Step) bool { return method(s) == "INVITE" || method(s) == "ACK" }) {
				return true
			}
		}
		return false
	}
	return m.passed[e] >= m.told[e] && !m.crossed(e)
}

// crossed reports that no phone has to do with an INVITE any more: where two offers of
// the phones cross within a call, Tandem answers each with the other.
func (m *merger) crossed(e effect) bool {
	return e == effect{"INVITE", '2'} && m.told[e] > 0 && !slices.ContainsFunc(m.legs, func(l []phone.Step) bool {
		return slices.ContainsFunc(l, func(s phone.Step) bool { return s.Out && method(s) == "INVITE" })
	})
}

// within reports whether a request is of a dialog that is there.
func within(s phone.Step) bool {
	_, to, _ := bytes.Cut(s.Raw, []byte("\r\nTo:"))
	to, _, _ = bytes.Cut(to, []byte("\r\n"))
	return bytes.Contains(to, []byte(";tag="))
}

// effectOf tells whether a message is of a kind that is passed on, and of which.
func effectOf(s phone.Step) (effect, bool) {
	e := effect{method: method(s)}
	switch e.method {
	case "UPDATE":
		if !describes(s) { // it keeps a leg's session alive, and no other's
			return e, false
		}
	case "INVITE":
		if status(s) == "" && within(s) && !describes(s) {
			return e, false // Tandem offers by itself, and passes on what the ACK says
		}
	case "ACK":
		return effect{method: "INVITE"}, s.Out && describes(s)
	case "INFO":
	case "CANCEL", "BYE":
		return e, status(s) == ""
	default:
		return e, false
	}
	if code := status(s); code != "" {
		e.class = min(code[0], '4')
		return e, code != "100" && e.method != "INFO"
	}
	return e, true
}
