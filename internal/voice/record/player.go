package record

import (
	"context"
	"fmt"
	"io"

	"filippo.io/age"

	"tandem/internal/blob"
)

// player is the content of a sealed blob.
type player struct {
	*io.SectionReader
	blob blob.Object
}

func (p player) Close() error { return p.blob.Close() }

// OpenPlayer opens a recording to be played from any place, and gives the size
// of its WAV. Only what is read is fetched and unsealed. It gives
// blob.ErrNotFound where there is no recording; ctx rules the reading too.
func OpenPlayer(ctx context.Context, store blob.Store, key string, id age.Identity) (io.ReadSeekCloser, int64, error) {
	object, err := store.Open(ctx, key)
	if err != nil {
		return nil, 0, fmt.Errorf("open recording: %w", err)
	}
	plain, size, err := age.DecryptReaderAt(object, object.Size(), id)
	if err != nil {
		_ = object.Close()
		return nil, 0, fmt.Errorf("open recording: %w", err)
	}
	return player{io.NewSectionReader(plain, 0, size), object}, size, nil
}
