package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// unfinished is the folder of what is being put. No key leads there.
const unfinished = ".unfinished"

const copySize = 128 << 10

// abandoned is the age at which an unfinished file has surely nobody left.
const abandoned = 24 * time.Hour

// folder is a Store in the file system. Only its own user can read it.
type folder struct{ root string }

func openFolder(root string) (*folder, error) {
	if root == "" {
		return nil, errors.New("the URL of the blob store names no folder")
	}
	f := &folder{root: root}
	if err := os.MkdirAll(filepath.Join(root, unfinished), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of blobs: %w", err)
	}
	f.sweep()
	return f, nil
}

// sweep removes what was being put when some process ended. The folder may be
// another process's too, so only what is old goes.
func (f *folder) sweep() {
	entries, _ := os.ReadDir(filepath.Join(f.root, unfinished))
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(filepath.Join(f.root, unfinished, e.Name()))
		}
	}
}

func (f *folder) path(key string) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	return filepath.Join(f.root, filepath.FromSlash(key)), nil
}

func (f *folder) Put(ctx context.Context, key string, r io.Reader, size int64) (err error) {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	if size <= 0 {
		return errEmpty
	}
	temp, err := os.CreateTemp(filepath.Join(f.root, unfinished), "put-") // 0600
	if err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	defer func() {
		if err != nil {
			_ = temp.Close()
			_ = os.Remove(temp.Name())
		}
	}()
	if err := fill(ctx, temp, r, size); err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	if err := temp.Sync(); err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	if err := temp.Close(); err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	return f.settle(path)
}

// fill copies exactly size bytes, as long as ctx lasts.
func fill(ctx context.Context, w io.Writer, r io.Reader, size int64) error {
	// Large pieces: what is sealed comes in 64 KiB. The file's own ReadFrom
	// would take half of that.
	w = struct{ io.Writer }{w}
	n, err := io.CopyBuffer(w, io.LimitReader(&patient{ctx, r}, size+1), make([]byte, min(size+1, copySize)))
	if err == nil && n != size {
		err = wrongSize(n, size)
	}
	return err
}

// wrongSize is what is wrong with a reader that gave n bytes, or began to give
// more than size.
func wrongSize(n, size int64) error {
	return fmt.Errorf("%d bytes were given where %d were announced", n, size)
}

// patient reads until its context ends.
type patient struct {
	ctx context.Context // of one Put
	r   io.Reader
}

func (p *patient) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}

// settle makes the name of a file outlive a loss of power: its folder's, and
// those of the folders above, which may be new.
func (f *folder) settle(path string) error {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		d, err := os.Open(dir)
		if err != nil {
			return fmt.Errorf("store blob: %w", err)
		}
		err = d.Sync()
		_ = d.Close()
		if err != nil {
			return fmt.Errorf("store blob: %w", err)
		}
		if dir == filepath.Clean(f.root) {
			return nil
		}
	}
}

func (f *folder) Open(ctx context.Context, key string) (Object, error) {
	path, err := f.path(key)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() { // a folder of keys
		err = ErrNotFound
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("open blob: %w", err)
	}
	return fileObject{file, info.Size()}, nil
}

type fileObject struct {
	*os.File
	size int64
}

func (o fileObject) Size() int64 { return o.size }

func (f *folder) Delete(ctx context.Context, key string) error {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if info, err := os.Lstat(path); err != nil || info.IsDir() {
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("delete blob: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob: %w", err)
	}
	return f.settle(path)
}
