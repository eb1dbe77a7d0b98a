package siptx

import "sync/atomic"

// Stats is a look at a layer: what lives now, and what has been counted since New.
type Stats struct {
	ClientTx, ServerTx, Conns int // live now

	DroppedSource      uint64 // datagrams and connections refused by Accept
	Malformed          uint64 // messages refused by the parser, answered 400 or not
	Overload           uint64 // requests answered 503 for MaxServerTx; connections closed for MaxConns
	Merged             uint64 // requests answered 482 (RFC 3261 §8.2.2.2)
	Stray              uint64 // responses that no transaction waited for
	Blocked            uint64 // messages refused by Check
	RetransmissionsIn  uint64
	RetransmissionsOut uint64
	SendFailures       uint64 // messages the network did not take
	Handshakes         uint64 // TLS handshakes that failed
	Panics             uint64 // recovered in the dispatcher, a callback or a timer
}

type counters struct {
	droppedSource, malformed, overload, merged, stray, blocked atomic.Uint64
	again, sentAgain, sendFailures, handshakes, panics         atomic.Uint64
}

// Stats returns the figures as of now.
func (l *Layer) Stats() Stats {
	l.mu.Lock()
	s := Stats{ClientTx: len(l.clients), ServerTx: len(l.servers), Conns: len(l.conns)}
	l.mu.Unlock()
	s.DroppedSource = l.count.droppedSource.Load()
	s.Malformed = l.count.malformed.Load()
	s.Overload = l.count.overload.Load()
	s.Merged = l.count.merged.Load()
	s.Stray = l.count.stray.Load()
	s.Blocked = l.count.blocked.Load()
	s.RetransmissionsIn = l.count.again.Load()
	s.RetransmissionsOut = l.count.sentAgain.Load()
	s.SendFailures = l.count.sendFailures.Load()
	s.Handshakes = l.count.handshakes.Load()
	s.Panics = l.count.panics.Load()
	return s
}
