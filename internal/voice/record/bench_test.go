package record

import (
	"context"
	"fmt"
	"testing"
	"time"

	"filippo.io/age"

	"tandem/internal/blob"
	"tandem/internal/voice/relay"
)

// benchSink waits for the end.
type benchSink struct{ stored chan Stored }

func (s benchSink) Stored(_ context.Context, r Stored) error { s.stored <- r; return nil }
func (s benchSink) Failed(context.Context, Failure) error    { return nil }

// BenchmarkCallSecond is what a second of a recorded call costs beside the
// relay, from the packets to the blob in a folder: of the 1.5 times that there may be,
// what the tap and all behind it may take. Its calls take ten minutes.
func BenchmarkCallSecond(b *testing.B) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		b.Fatal(err)
	}
	blobs, err := blob.Open("file:"+b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	var now time.Duration
	told := benchSink{make(chan Stored, 1)}
	r, err := New(Options{Dir: b.TempDir(), Blob: blobs, Keys: &keys{id: id}, Sink: told, Now: func() time.Duration { return now }})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = r.Close(context.Background()) }()
	r.keys.known["acme"] = knownKey{id.Recipient(), 1 << 62}
	p := relay.Packet{Payload: 8, Media: make([]byte, 160)}
	for i := range p.Media {
		p.Media[i] = byte(i)
	}
	var c *Recording
	var frames []byte
	end := func() {
		c.Stop()
		c.turn(&frames)
		<-told.stored
	}
	b.ResetTimer()
	for n := range b.N {
		if n%600 == 0 {
			if c != nil {
				end()
			}
			c = r.Start(spec(fmt.Sprintf("call_%d", n)))
			c.busy.Store(true) // the turns are ours
		}
		for packets := range 50 {
			now += 20 * time.Millisecond
			for p.Side = range relay.Side(2) {
				p.At, p.Sequence, p.Timestamp = now, p.Sequence+1, p.Timestamp+160
				c.Packet(&p)
			}
			if packets%10 == 9 {
				c.turn(&frames)
			}
		}
	}
	end()
}
