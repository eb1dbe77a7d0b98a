package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"filippo.io/age"

	"tandem/internal/blob"
	"tandem/internal/masking"
	"tandem/internal/voice/g711"
	"tandem/internal/voice/record"
	"tandem/internal/voice/relay"
)

// recorded names, where an engine's name is expected, the relay with the engine
// that a server has and a recorder, which records every call.
const recorded = "recorded"

// tapes records as a server does, but for the database: sealed with a real key, into
// a spool on the disk.
type tapes struct {
	dir      string
	recorder *record.Recorder
	key      *age.X25519Identity
	laws     [128]g711.Law
}

func newTapes(now func() time.Duration) (*tapes, error) {
	dir, err := os.MkdirTemp("", "tandem-relaybench-")
	if err != nil {
		return nil, err
	}
	t := &tapes{dir: dir}
	t.laws[8] = g711.ALaw // what the load sends
	if t.key, err = age.GenerateX25519Identity(); err != nil {
		return nil, err
	}
	blobs, err := blob.Open("file:"+dir+"/recordings", os.Getenv)
	if err != nil {
		return nil, err
	}
	t.recorder, err = record.New(record.Options{Dir: dir + "/spool", Blob: blobs, Keys: t, Sink: t, Now: now})
	return t, err
}

// Recipient, Identity, Stored and Failed stand in for the database.
func (t *tapes) Recipient(context.Context, masking.TenantID) (age.Recipient, error) {
	return t.key.Recipient(), nil
}

func (t *tapes) Identity(context.Context, masking.TenantID) (age.Identity, error) { return t.key, nil }
func (t *tapes) Stored(context.Context, record.Stored) error                      { return nil }
func (t *tapes) Failed(context.Context, record.Failure) error                     { return nil }

func (t *tapes) record(s *relay.Session, call int) {
	s.Record(t.recorder.Start(record.Spec{Call: masking.CallID(fmt.Sprintf("call_%d", call)), Tenant: "load",
		Laws: [2][128]g711.Law{t.laws, t.laws}}))
}

// close tells what the recorder did not keep up with. What is recorded is thrown
// away.
func (t *tapes) close() {
	if s := t.recorder.Stats(); s.Dropped > 0 || s.Failed > 0 {
		fmt.Fprintf(os.Stderr, "relaybench: the recorder dropped %d packets, %d recordings failed\n", s.Dropped, s.Failed)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nothing is to be stored
	_ = t.recorder.Close(ctx)
	_ = os.RemoveAll(t.dir)
}
