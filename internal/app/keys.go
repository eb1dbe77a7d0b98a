package app

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"tandem/internal/store"
)

// The data folder holds, besides the database:
//
//	master.key    the secret from which all keys are derived
//	admin.token   the operator's token, if the settings name none
//	node.id       this node's name in call records
//	lock          held by the process that uses the folder
//	addresses.json  where the server listens, while it does
//	alive         whose time is when the server ran last
//	journal       folder of what could not be written to the database yet, sealed
const (
	addressesFile = "addresses.json"

	masterFile = "master.key"
	adminFile  = "admin.token"
	nodeFile   = "node.id"
	lockFile   = "lock"
	aliveFile  = "alive"

	journalFolder = "journal"
)

// tokensKey is the purpose of the key of tokens, which digests of erased numbers have as well.
const tokensKey = "tokens"

// lockFolder makes the data folder and takes it for this process alone: two
// servers on one folder would answer for each other's calls.
func lockFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("data folder %s is in use by another tandem", dir)
	}
	return f, nil
}

// errEmpty says that a secret's file has nothing in it.
var errEmpty = errors.New("is empty")

// secretFile reads a one-line file, or makes it with what fresh gives. made tells
// which. The file is complete or absent, whenever the process is killed.
func secretFile(path string, fresh func() string) (text string, made bool, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		text = strings.TrimSpace(string(b))
		if text == "" {
			return "", false, fmt.Errorf("%s %w", path, errEmpty)
		}
		return text, false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	text = fresh()
	return text, true, writeFile(path, text+"\n", 0o600)
}

// writeFile replaces a file as a whole.
func writeFile(path, text string, mode os.FileMode) error {
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(next, path)
}

// deriveKey gives the key for one purpose (RFC 5869).
func deriveKey(master, purpose string) ([]byte, error) {
	secret, err := hex.DecodeString(master)
	if err != nil || len(secret) != 32 {
		return nil, errors.New("a master key has 64 hexadecimal digits")
	}
	return hkdf.Key(sha256.New, secret, nil, "tandem "+purpose, 32)
}

// checkMasterKey refuses a database whose nodes have another master key: nothing that is
// sealed in it could be read, and what this node seals nobody else could read. The first
// node to start leaves there which key it is: a key derived for that alone.
func (a *App) checkMasterKey(ctx context.Context) error {
	file := filepath.Join(a.o.Config.DataDir, masterFile)
	var known string
	err := a.store.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		known, err = tx.Fact(ctx, store.FactMasterKey)
		return err
	})
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	if _, err := os.Stat(file); known != "" && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there, and the database was used with one: copy it from another node, or from where it is kept beside the backups", file)
	}
	key, err := a.key("check of the master key")
	if err != nil {
		return err
	}
	ours := hex.EncodeToString(key)
	if known == "" {
		err = a.store.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
			known, err = tx.FirstFact(ctx, store.FactMasterKey, ours)
			return err
		})
		if err != nil {
			return fmt.Errorf("database: %w", err)
		}
	}
	if subtle.ConstantTimeCompare([]byte(known), []byte(ours)) != 1 {
		return fmt.Errorf("%s is not the key that the database was used with: every node needs the same one: copy it from another node, or from where it is kept beside the backups", file)
	}
	return nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}
