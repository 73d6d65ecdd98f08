package simulated

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// digest is enough of a SHA-256 to tell two million keys apart.
type digest [16]byte

func digestOf(b []byte) digest {
	sum := sha256.Sum256(b)
	return digest(sum[:16])
}

func (d digest) String() string { return hex.EncodeToString(d[:]) }

// roll gives a number in [0, 1) that follows from the seed, what it is for, a key
// and a count, and from nothing else.
func roll(seed uint64, what, key string, count uint64) float64 {
	b := make([]byte, 0, 18+len(what)+len(key))
	b = binary.BigEndian.AppendUint64(b, seed)
	b = binary.BigEndian.AppendUint64(b, count)
	b = append(b, what...)
	b = append(b, 0)
	b = append(b, key...)
	sum := sha256.Sum256(b)
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53)
}
