package masking

import "time"

// Quality is how the media of a call was carried, on each of its legs. The zero
// value says that nothing was measured: nobody answered.
type Quality struct{ Caller, Callee LegQuality }

// LegQuality is the media of one leg as seen from here: what came from its phone
// and what was sent there (RFC 3550 §6.4).
type LegQuality struct {
	Received uint64 // RTP packets from the phone
	Sent     uint64 // RTP packets to it
	Lost     uint64 // expected from the phone and not arrived
	Strays   uint64 // packets at its port that were not from it; dropped
	Jitter   time.Duration
	// RoundTrip is to the phone and back; 0 if its reports never told.
	RoundTrip time.Duration
	// Reported tells that the phone sent reports on what it got of ours: what was
	// Lost on the way there, and its Jitter.
	Reported   bool
	PeerLost   uint64
	PeerJitter time.Duration
}
