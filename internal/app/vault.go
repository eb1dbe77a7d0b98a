package app

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"

	"tandem/internal/masking"
)

// vault seals secrets that the program must be able to read again, each under the
// name of what it belongs to: in another row it does not open.
type vault struct{ seal cipher.AEAD }

// Seal encrypts the secret of the thing that is named so.
func (v vault) Seal(of, secret string) []byte {
	nonce := make([]byte, v.seal.NonceSize())
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return v.seal.Seal(nonce, nonce, []byte(secret), []byte(of))
}

func (v vault) open(of string, sealed []byte) (string, error) {
	n := v.seal.NonceSize()
	if len(sealed) < n {
		return "", errors.New("the secret is too short")
	}
	text, err := v.seal.Open(nil, sealed[:n], sealed[n:], []byte(of))
	if err != nil {
		return "", errors.New("the secret does not open with the master key")
	}
	return string(text), nil
}

// password is that of a trunk's credentials.
func (v vault) password(t masking.Trunk) (string, error) { return v.open(t.Name, t.Auth.Sealed) }
