// Package seal encrypts what this program must be able to read again and nobody
// else: it goes into the database sealed under a key that is not there. What is
// sealed is tied to the name of what it belongs to, so in another row it does not
// open. Nothing here knows what it seals.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeySize is that of a key, in bytes.
const KeySize = 32

var (
	errShort = errors.New("it is too short")
	errOther = errors.New("it was sealed by another key or for another purpose, or has been changed")
)

// A Box seals and opens with one key. It may be used by any goroutine.
type Box struct{ aead cipher.AEAD }

// New seals by XChaCha20-Poly1305, whose nonces are long enough to be drawn at random
// however much is sealed.
func New(key []byte) (*Box, error) {
	a, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Box{a}, nil
}

// NewGCM seals by AES-256-GCM: less than 2^32 things with one key (NIST SP 800-38D
// §8.3), for what is few or lasts a day.
func NewGCM(key []byte) (*Box, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("seal: a key of %d bytes", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Box{a}, nil
}

// Seal encrypts a text of the thing that is named so. The nonce stands before it.
func (b *Box) Seal(text, of []byte) []byte {
	n := b.aead.NonceSize()
	sealed := make([]byte, n, n+len(text)+b.aead.Overhead())
	_, _ = rand.Read(sealed) // never fails (crypto/rand)
	return b.aead.Seal(sealed, sealed, text, of)
}

// Open undoes Seal. It refuses what was sealed by another key, or of another thing,
// and what was changed; the error tells nothing of it.
func (b *Box) Open(sealed, of []byte) ([]byte, error) {
	n := b.aead.NonceSize()
	if len(sealed) < n+b.aead.Overhead() {
		return nil, errShort
	}
	text, err := b.aead.Open(nil, sealed[:n], sealed[n:], of)
	if err != nil {
		return nil, errOther
	}
	return text, nil
}
