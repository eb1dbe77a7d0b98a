package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"tandem/internal/blob"
	"tandem/internal/masking"
	"tandem/internal/seal"
	"tandem/internal/store"
	"tandem/internal/voice/callflow"
	"tandem/internal/voice/record"
)

// Folders of the data folder.
const (
	spoolFolder      = "spool"      // recordings that are not in the blob store yet
	recordingsFolder = "recordings" // the blob store, where the settings name none
)

// openRecorder opens the blob store and starts the recorder; what an earlier run
// left in the spool is stored now.
func (a *App) openRecorder(ctx context.Context) error {
	url := a.o.Config.BlobURL
	if path, local := strings.CutPrefix(url, "file:"); local && path == "" {
		url = "file:" + filepath.Join(a.o.Config.DataDir, recordingsFolder)
	}
	blobs, err := blob.Open(url, os.Getenv)
	if err != nil {
		return fmt.Errorf("blob store: %w", err)
	}
	if c, ok := blobs.(io.Closer); ok { // idle connections
		a.onStop(func(context.Context) error { return c.Close() })
	}
	master, err := a.key("recording keys")
	if err != nil {
		return err
	}
	keys, err := newRecordingKeys(a.store, master, a.o.Clock)
	if err != nil {
		return err
	}
	a.sounds = sounds{blobs, keys}
	records := callflow.Recordings{Store: a.store, Clock: a.o.Clock}
	a.recorder, err = record.New(record.Options{Dir: filepath.Join(a.o.Config.DataDir, spoolFolder), Blob: blobs, Keys: keys,
		Sink: sink{records}, Full: func() bool { return full(a.o.Config.DataDir) }, Log: a.log, Now: a.relay.Elapsed, Clock: a.o.Clock})
	if err != nil {
		return err
	}
	a.onStop(a.recorder.Close)
	left, err := a.recorder.Recover(ctx)
	if left > 0 {
		a.log.Info("recordings of the last run go on to the blob store", "recordings", left)
	}
	if err != nil { // of a file or folder that is none of ours, as a rule: calls do not wait for it
		a.log.Warn("the spool of recordings cannot be seen as a whole", "error", err.Error())
	}
	return nil
}

// closeLostRecordings says of what the last run left nowhere that it has failed.
func (a *App) closeLostRecordings(ctx context.Context, node string) error {
	records := callflow.Recordings{Store: a.store, Clock: a.o.Clock}
	lost, err := records.CloseLost(ctx, node, a.recorder.Waits)
	if lost > 0 {
		a.log.Warn("recordings of the last run are lost", "recordings", lost)
	}
	return err
}

// reserve is what recordings leave free on the disk of the data folder: the
// database is on it as well, and without that no call is let in.
const reserve = 256 << 20

func full(dir string) bool {
	free, known := roomOf(dir)
	return known && free < reserve
}

// recordingKeys are the age keys of tenants, sealed in the database: one a
// tenant, made for his first recording. Whoever deletes it erases all of them.
type recordingKeys struct {
	store store.Store
	box   *seal.Box
	clock func() time.Time
}

func newRecordingKeys(s store.Store, master []byte, clock func() time.Time) (*recordingKeys, error) {
	box, err := seal.NewGCM(master) // there are as many as tenants
	if err != nil {
		return nil, fmt.Errorf("recording keys: %w", err)
	}
	return &recordingKeys{s, box, clock}, nil
}

// Recipient is what the tenant's recordings are sealed to.
func (k *recordingKeys) Recipient(ctx context.Context, t masking.TenantID) (age.Recipient, error) {
	id, err := k.identity(ctx, t)
	if err != nil {
		return nil, err
	}
	return id.Recipient(), nil
}

// Identity is what opens them.
func (k *recordingKeys) Identity(ctx context.Context, t masking.TenantID) (age.Identity, error) {
	return k.identity(ctx, t)
}

func (k *recordingKeys) identity(ctx context.Context, t masking.TenantID) (*age.X25519Identity, error) {
	var sealed []byte
	err := k.store.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		sealed, err = tx.RecordingKey(ctx, t)
		return err
	})
	if masking.KindOf(err) == masking.NotFound {
		sealed, err = k.found(ctx, t)
	}
	if err != nil {
		return nil, fmt.Errorf("read the recording key: %w", err)
	}
	text, err := k.box.Open(sealed, []byte(t))
	if err != nil {
		return nil, errors.New("the recording key does not open with the master key")
	}
	return age.ParseX25519Identity(string(text))
}

// found makes the tenant's key; of two made at once the first is kept.
func (k *recordingKeys) found(ctx context.Context, t masking.TenantID) (sealed []byte, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	mine := k.box.Seal([]byte(id.String()), []byte(t))
	err = k.store.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		sealed, err = tx.InsertRecordingKey(ctx, t, mine, k.clock())
		return err
	})
	return sealed, err
}

// sink writes down what becomes of recordings.
type sink struct{ of callflow.Recordings }

func (s sink) Stored(ctx context.Context, r record.Stored) error {
	return s.of.End(ctx, masking.Recording{Call: r.Call, Tenant: r.Tenant, Status: masking.RecordingStored, Key: r.Key,
		Duration: r.Duration, Size: r.Size, Peaks: r.Peaks, Truncated: r.Truncated, Dropped: r.Dropped})
}

func (s sink) Failed(ctx context.Context, f record.Failure) error {
	return s.of.End(ctx, masking.Recording{Call: f.Call, Tenant: f.Tenant, Status: masking.RecordingFailed, Reason: string(f.Reason)})
}

// sounds gives the control plane the sound of recordings.
type sounds struct {
	blobs blob.Store
	keys  *recordingKeys
}

func (s sounds) Open(ctx context.Context, r masking.Recording) (io.ReadSeekCloser, error) {
	id, err := s.keys.Identity(ctx, r.Tenant)
	if err != nil {
		return nil, err
	}
	player, _, err := record.OpenPlayer(ctx, s.blobs, r.Key, id)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, masking.ErrNotFound()
	}
	return player, err
}

func (s sounds) Delete(ctx context.Context, key string) error { return s.blobs.Delete(ctx, key) }
