package storetest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// Template gives a function that puts an empty database of an engine in one file, of
// today's schema, at a path where there is none yet. The engine makes it by open once,
// when it is first wanted: to migrate takes longer than most tests, two seconds under
// the race detector. What migrations do is tested where they are.
func Template(open func(path string) (io.Closer, error)) (put func(path string) error) {
	empty := sync.OnceValues(func() (file []byte, err error) {
		dir, err := os.MkdirTemp("", "tandem-template-")
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		path := filepath.Join(dir, "empty.db")
		s, err := open(path)
		if err != nil {
			return nil, err
		}
		if err := s.Close(); err != nil {
			return nil, err
		}
		if left, err := filepath.Glob(path + "?*"); err != nil || len(left) > 0 {
			return nil, fmt.Errorf("an empty database is not all in its file: %q, %w", left, err)
		}
		return os.ReadFile(path)
	})
	return func(path string) error {
		file, err := empty()
		if err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(file)
		if e := f.Close(); err == nil {
			err = e
		}
		return err
	}
}
