// The SentencePiece C++ library behind C functions. The only C++ file of the project.
#include <sentencepiece_processor.h>

#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

extern "C" {
#include "harness/base/error.h"
#include "harness/model/sentencepiece.h"
#include "harness/model/tokenizer.h"
}

struct spm {
    sentencepiece::SentencePieceProcessor processor;
};

// Called where C++ finds no memory. The exception that would follow cannot be let through the library:
// its messages are not whole in the middle of growing, and their destructors crash on that.
static void give_up()
{
    die("out of memory: SentencePiece cannot go on");
}

extern "C" struct spm *spm_open(const char *path, const void *data, size_t nbytes)
{
    std::set_new_handler(give_up);
    try {
        auto m = std::make_unique<spm>();
        const auto status =
            m->processor.LoadFromSerializedProto({static_cast<const char *>(data), nbytes});

        if (status.ok())
            return m.release();
        error("%s: bad SentencePiece model: %s", path, status.ToString().c_str());
    } catch (const std::exception &e) {
        error("%s: bad SentencePiece model: %s", path, e.what());
    }
    return nullptr;
}

extern "C" void spm_close(struct spm *m)
{
    delete m;
}

extern "C" int spm_encode(const struct spm *m, const char *text, size_t nbytes, struct ids *out)
{
    try {
        std::vector<int> ids;
        const auto status = m->processor.Encode({text, nbytes}, &ids);

        if (!status.ok())
            return error("SentencePiece cannot encode a text of %zu bytes: %s", nbytes,
                         status.ToString().c_str());
        for (int id : ids)
            ids_add(out, id);
        return 0;
    } catch (const std::exception &e) {
        return error("SentencePiece cannot encode a text of %zu bytes: %s", nbytes, e.what());
    }
}

extern "C" int32_t spm_n_vocab(const struct spm *m)
{
    return m->processor.GetPieceSize();
}

extern "C" int32_t spm_bos(const struct spm *m)
{
    return m->processor.bos_id();
}

extern "C" int32_t spm_eos(const struct spm *m)
{
    return m->processor.eos_id();
}

extern "C" const char *spm_piece(const struct spm *m, int32_t id)
{
    return m->processor.IdToPiece(id).c_str();
}

extern "C" enum spm_type spm_type(const struct spm *m, int32_t id)
{
    if (m->processor.IsUnknown(id))
        return SPM_UNKNOWN;
    if (m->processor.IsControl(id))
        return SPM_CONTROL;
    return m->processor.IsByte(id) ? SPM_BYTE : SPM_NORMAL;
}
