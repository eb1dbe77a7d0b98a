package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// call is one call, seen from both ends. load.mu guards it.
type call struct {
	n, slot                int
	invited, offered, rang time.Time
	lastNews               time.Time
	byCaller, byCallee     unanswered
	accepted               message // the caller's 200, for the BYE
	connected, ending      bool
	callerDone, calleeDone bool
}

// unanswered is what one end has sent and must send again until it is answered.
type unanswered struct {
	text []byte
	conn *net.UDPConn
	to   netip.AddrPort
	at   time.Time
}

// send takes a failure for a loss: the text will be sent again.
func (u *unanswered) send() { _, _ = u.conn.WriteToUDPAddrPort(u.text, u.to) }

// place starts the next call, between the next two parties.
func (l *load) place() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	c := &call{n: l.next, slot: l.next % len(l.slots), invited: now, lastNews: now}
	l.next++
	if l.slots[c.slot] != nil {
		l.failed++
		l.why = "a caller was still on the phone when his turn came again"
		return
	}
	l.slots[c.slot], l.calls[c.n] = c, c
	text := invite(c.n, callerNumber(c.slot), l.dial(c.slot), address(l.caller), l.via)
	c.invited = time.Now()
	c.byCaller = unanswered{text, l.caller, l.via, c.invited}
	c.byCaller.send()
}

// onCaller takes what comes to the caller: responses, and a BYE if the server
// gives a call up.
func (l *load) onCaller(m message, from netip.AddrPort) {
	if m.status == 0 {
		_, _ = l.caller.WriteToUDPAddrPort(answer(m, "200 OK", "", "", ""), from)
		return
	}
	n, _ := numbered(m.callID)
	c := l.calls[n]
	if c == nil {
		l.repeated++
		if m.method == "INVITE" && m.status >= 200 { // stop it
			_, _ = l.caller.WriteToUDPAddrPort(follow("ACK", n, 1, m, address(l.caller)), l.via)
		}
		return
	}
	now := time.Now()
	c.lastNews = now
	switch {
	case m.method == "BYE":
		c.byCaller.text, c.callerDone = nil, true
		l.finish(c)
	case m.status < 200:
		c.byCaller.text = nil
		if m.status == 180 && !c.rang.IsZero() {
			l.added = append(l.added, now.Sub(c.rang)+c.offered.Sub(c.invited))
			c.rang = time.Time{}
		}
	case m.status < 300:
		l.onAccepted(c, m)
	default:
		_, _ = l.caller.WriteToUDPAddrPort(acknowledge(n, m, address(l.caller), l.via), l.via)
		l.fail(c, "was refused with "+strconv.Itoa(m.status))
	}
}

func (l *load) onAccepted(c *call, m message) {
	_, _ = l.caller.WriteToUDPAddrPort(follow("ACK", c.n, 1, m, address(l.caller)), l.via)
	if c.connected {
		l.repeated++
		return
	}
	c.byCaller.text, c.connected, c.accepted = nil, true, m.clone()
	l.tally.connected++
	if !l.hold {
		l.bye(c)
	}
}

func (l *load) bye(c *call) {
	if c.ending || l.calls[c.n] != c {
		return
	}
	c.ending, c.lastNews = true, time.Now()
	c.byCaller = unanswered{follow("BYE", c.n, 2, c.accepted, address(l.caller)), l.caller, l.via, c.lastNews}
	c.byCaller.send()
}

// onCallee takes what comes to the callee: requests only.
func (l *load) onCallee(m message, from netip.AddrPort) {
	if m.status > 0 {
		return
	}
	if m.method == "OPTIONS" {
		_, _ = l.callee.WriteToUDPAddrPort(answer(m, "200 OK", "o", "", ""), from)
		return
	}
	c := l.called(m)
	if c == nil { // it was over, or given up
		l.repeated++
		if m.method != "ACK" {
			_, _ = l.callee.WriteToUDPAddrPort(answer(m, "481 Call/Transaction Does Not Exist", "x", "", ""), from)
		}
		return
	}
	now := time.Now()
	c.lastNews = now
	switch m.method {
	case "INVITE":
		if !c.offered.IsZero() {
			l.repeated++
			return
		}
		l.ring(c, m, from, now)
	case "ACK":
		if c.byCallee.text == nil {
			l.repeated++
		}
		c.byCallee.text = nil
	default:
		_, _ = l.callee.WriteToUDPAddrPort(answer(m, "200 OK", "", "", ""), from)
		c.byCallee.text, c.calleeDone = nil, true
		l.finish(c)
	}
}

// ring answers an INVITE with 180 and at once with 200.
func (l *load) ring(c *call, m message, from netip.AddrPort, now time.Time) {
	c.offered = now
	tag := "b" + strconv.Itoa(c.n)
	contact := "sip:k" + strconv.Itoa(c.n) + "@" + address(l.callee).String()
	ringing := answer(m, "180 Ringing", tag, contact, "")
	ok := answer(m, "200 OK", tag, contact, session(c.n))
	c.rang = time.Now()
	_, _ = l.callee.WriteToUDPAddrPort(ringing, from)
	c.byCallee = unanswered{ok, l.callee, from, c.rang}
	c.byCallee.send()
}

// called finds the call of a request: an INVITE by the number called, all else
// by the Contact that the callee gave.
func (l *load) called(m message) *call {
	user := userOf(m.uri)
	if m.method != "INVITE" {
		n, _ := numbered([]byte(user))
		return l.calls[n]
	}
	slot, err := strconv.Atoi(strings.TrimPrefix(user, "+9188000"))
	if err != nil || slot < 0 || slot >= len(l.slots) {
		return nil
	}
	return l.slots[slot]
}

// finish counts a call that both ends have left.
func (l *load) finish(c *call) {
	if c.callerDone && c.calleeDone {
		l.completed++
		l.forget(c)
	}
}

// fail gives a call up.
func (l *load) fail(c *call, why string) {
	l.failed++
	l.why = fmt.Sprintf("call %d %s: offered %v, connected %v, hanging up %v, ended for the caller %v and the callee %v; waiting for an answer: caller %v, callee %v",
		c.n, why, !c.offered.IsZero(), c.connected, c.ending, c.callerDone, c.calleeDone, c.byCaller.text != nil, c.byCallee.text != nil)
	l.forget(c)
}

// forget lets both parties call again.
func (l *load) forget(c *call) {
	delete(l.calls, c.n)
	if l.slots[c.slot] == c {
		l.slots[c.slot] = nil
	}
}
