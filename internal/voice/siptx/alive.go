package siptx

import (
	"errors"
	"math/rand/v2"
	"time"
)

// The keep-alive of connections that we opened (RFC 5626 §3.5.1, §4.4.1): a double
// CRLF every now and then, which the peer answers with one. It keeps the way through
// a NAT or firewall open during a long call, and tells of a connection that is dead
// before a BYE is lost on it.
const (
	pingAfter  = 95 * time.Second // and up to pingSpread more, so that not all ping at once
	pingSpread = 25 * time.Second
	pongWithin = 10 * time.Second
)

var errSilent = errors.New("connection is silent")

// A pulse says when a connection is to be pinged. It is the writer's.
type pulse struct {
	c     *conn
	timer *time.Timer // nil = never: a connection that was taken in is its peer's to keep
	asked bool        // a ping is out
	reads uint64      // what had been read when the timer was set
}

func (c *conn) newPulse() *pulse {
	p := &pulse{c: c}
	if !c.inbound {
		p.timer = time.NewTimer(nextPing())
	}
	return p
}

func nextPing() time.Duration { return pingAfter + rand.N(pingSpread) }

// due fires when beat is to be called.
func (p *pulse) due() <-chan time.Time {
	if p.timer == nil {
		return nil
	}
	return p.timer.C
}

func (p *pulse) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// beat pings, or looks at what became of it. Only a peer that has answered a ping
// before owes an answer: not all know of pings.
func (p *pulse) beat() error {
	reads := p.c.reads.Load()
	heard := reads != p.reads
	p.reads = reads
	answers := p.c.answers.Load()
	switch {
	case p.asked && !heard && answers:
		return errSilent
	case p.asked || heard && answers:
		p.asked = false
		p.c.pinged.Store(false) // what comes now is a ping of the peer's own
		p.timer.Reset(nextPing())
		return nil
	}
	p.asked = true
	p.timer.Reset(pongWithin)
	p.c.pinged.Store(true)
	return p.c.writeOne([]byte("\r\n\r\n"))
}

// pong takes a CRLF for the answer to our ping, if one is out.
func (c *conn) pong() bool {
	if !c.pinged.CompareAndSwap(true, false) {
		return false
	}
	c.answers.Store(true)
	return true
}
