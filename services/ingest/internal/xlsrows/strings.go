package xlsrows

import (
	"encoding/binary"
	"fmt"

	"waybill.internal/services/ingest/internal/rows"
)

// maxStringBytes bounds the memory of the shared texts. A workbook of the largest
// size that is read stays below it unless its texts are mostly Chinese or empty.
const maxStringBytes = 144 << 20

const (
	blockBytes  = 1 << 20 // texts are kept in blocks, so that none is copied when there are more
	pageStrings = 1 << 16 // places of texts are kept in pages of so many
)

// sharedStrings are the texts that cells of version 8 refer to, each stored with its
// length in front, 4 bytes beside it.
type sharedStrings struct {
	blocks [][]byte
	places [][]uint32 // number of the block << 20 | place in it
	count  uint32
}

func (t *sharedStrings) add(text []byte) error {
	var length [binary.MaxVarintLen32]byte
	n := binary.PutUvarint(length[:], uint64(len(text)))
	last := len(t.blocks) - 1
	if last < 0 || len(t.blocks[last])+n+len(text) > blockBytes {
		if int64(len(t.blocks)+1)*blockBytes+int64(t.count)*4 > maxStringBytes {
			return &rows.FileError{Code: rows.TooLarge, Message: fmt.Sprintf("the workbook's texts take more than %d MiB; split the file, or save it as .csv", maxStringBytes>>20)}
		}
		t.blocks = append(t.blocks, make([]byte, 0, blockBytes))
		last++
	}
	if t.count%pageStrings == 0 {
		t.places = append(t.places, make([]uint32, 0, pageStrings))
	}
	page := &t.places[len(t.places)-1]
	*page = append(*page, uint32(last)<<20|uint32(len(t.blocks[last])))
	t.blocks[last] = append(append(t.blocks[last], length[:n]...), text...)
	t.count++
	return nil
}

// get gives a text; it must not be changed.
func (t *sharedStrings) get(i uint32) ([]byte, bool) {
	if i >= t.count {
		return nil, false
	}
	place := t.places[i/pageStrings][i%pageStrings]
	block := t.blocks[place>>20][place&(blockBytes-1):]
	length, n := binary.Uvarint(block)
	return block[n : n+int(length)], true
}

// readStrings reads the table of shared texts. What its head claims of their number
// is not believed: it ends where the records that continue it do.
func (b *book) readStrings(s *scanner, r rec) error {
	if err := r.need(8); err != nil {
		return err
	}
	claimed := r.u32(4)
	p := &parts{s: s, data: r.data[8:]}
	var text []byte
	for b.strings.count < claimed {
		if len(p.data) == 0 {
			if op, ok := s.peek(); !ok || op != opContinue {
				return nil // fewer than claimed; a cell that refers to a missing one is refused
			}
		}
		var err error
		if text, err = p.appendText(text[:0], 2); err != nil {
			return err
		}
		if err := b.strings.add(text); err != nil {
			return err
		}
	}
	return nil
}
