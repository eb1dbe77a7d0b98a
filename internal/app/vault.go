package app

import (
	"errors"

	"tandem/internal/masking"
	"tandem/internal/seal"
)

// vault seals secrets that the program must be able to read again, each under the
// name of what it belongs to.
type vault struct{ box *seal.Box }

// Seal encrypts the secret of the thing that is named so.
func (v vault) Seal(of, secret string) []byte { return v.box.Seal([]byte(secret), []byte(of)) }

func (v vault) open(of string, sealed []byte) (string, error) {
	text, err := v.box.Open(sealed, []byte(of))
	if err != nil {
		return "", errors.New("the secret does not open with the master key")
	}
	return string(text), nil
}

// password is that of a trunk's credentials.
func (v vault) password(t masking.Trunk) (string, error) { return v.open(t.Name, t.Auth.Sealed) }
