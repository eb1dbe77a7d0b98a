// Package hep exports SIP messages to a HOMER collector: HEP version 3 over UDP
// ("The HEP3 protocol", sipcapture.org, revision 32).
//
// What leaves is not what was on the wire: a message is written anew from an
// allow-list, with every telephone number replaced by a pseudonym (see masker). A
// collector is a log, and no log of ours holds a number.
package hep

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what an Exporter works with. Target, Key and Log are required.
type Options struct {
	Target   string // HOST:PORT of the collector
	ID       uint32 // which of the collector's agents we are
	Password string // "" = none
	Key      []byte // of the pseudonyms; that of numbers in logs, so that both can be joined
	Log      *slog.Logger
}

// A Packet is one SIP message as it was on the wire.
type Packet struct {
	At       time.Time
	Network  string // "udp", "tcp" or "tls"
	From, To netip.AddrPort
	Raw      []byte
	Call     string // ties the messages of both legs together; "" = of no call
}

// Stats counts what became of packets.
type Stats struct {
	Sent    uint64
	Dropped uint64 // the queue was full, or the collector's name or port could not be reached
}

const (
	queueSize = 1024
	redial    = 10 * time.Second // after a name that could not be resolved
	dialling  = 2 * time.Second
)

// Exporter sends packets from a goroutine of its own. Close ends it.
type Exporter struct {
	o       Options
	mask    masker
	queue   chan Packet
	ctx     context.Context
	stop    context.CancelFunc
	done    sync.WaitGroup
	sent    atomic.Uint64
	dropped atomic.Uint64

	conn   net.Conn // owned by run
	failed time.Time
}

// Start makes an Exporter. A collector that is away, or whose name cannot be resolved
// now, keeps nobody from starting: packets are dropped and counted.
func Start(o Options) (*Exporter, error) {
	if o.Target == "" || o.Log == nil || len(o.Key) == 0 {
		return nil, errors.New("hep: options without a target, a key or a log")
	}
	e := &Exporter{o: o, mask: masker{o.Key}, queue: make(chan Packet, queueSize)}
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.done.Go(e.run)
	return e, nil
}

// Offer takes a packet, whose bytes it copies, or drops it. It never waits.
func (e *Exporter) Offer(p Packet) {
	if len(e.queue) == cap(e.queue) { // nothing is copied for nothing; it may fill up meanwhile
		e.dropped.Add(1)
		return
	}
	p.Raw = append([]byte(nil), p.Raw...)
	select {
	case e.queue <- p:
	default:
		e.dropped.Add(1)
	}
}

// Stats are the counts up to now.
func (e *Exporter) Stats() Stats { return Stats{e.sent.Load(), e.dropped.Load()} }

// Close sends what is queued, as long as ctx lasts, and ends the Exporter.
func (e *Exporter) Close(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(e.queue) > 0 && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	e.stop()
	e.done.Wait()
	return nil
}

func (e *Exporter) run() {
	defer func() {
		if e.conn != nil {
			_ = e.conn.Close() // UDP: nothing is left to be said
		}
	}()
	var out []byte
	for {
		select {
		case <-e.ctx.Done():
			return
		case p := <-e.queue:
			p.Raw = e.mask.message(p.Raw)
			out = encode(out[:0], p, e.o.ID, e.o.Password)
			e.send(out)
		}
	}
}

// send sends one datagram, or counts it as dropped. An answer that nobody listens
// comes with a later one.
func (e *Exporter) send(b []byte) {
	if e.conn == nil && !e.dial() {
		e.dropped.Add(1)
		return
	}
	if _, err := e.conn.Write(b); err != nil {
		e.dropped.Add(1)
		return
	}
	e.sent.Add(1)
}

func (e *Exporter) dial() bool {
	if !e.failed.IsZero() && time.Since(e.failed) < redial {
		return false
	}
	ctx, cancel := context.WithTimeout(e.ctx, dialling)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", e.o.Target)
	if err != nil {
		e.failed = time.Now()
		e.o.Log.Warn("the HEP collector cannot be reached", "target", e.o.Target, "error", err.Error())
		return false
	}
	e.conn = conn
	return true
}
