// The SentencePiece C++ library behind C functions. The only C++ file of the project.
#include <sentencepiece_processor.h>

#include <exception>
#include <memory>
#include <string>
#include <vector>

extern "C" {
#include "harness/base/error.h"
#include "harness/model/sentencepiece.h"
#include "harness/model/tokenizer.h"
}

struct sentencepiece {
    sentencepiece::SentencePieceProcessor processor;
};

extern "C" struct sentencepiece *sentencepiece_open(const char *path, const void *data,
                                                    size_t nbytes)
{
    try {
        auto sp = std::make_unique<struct sentencepiece>();
        const auto status =
            sp->processor.LoadFromSerializedProto({static_cast<const char *>(data), nbytes});

        if (status.ok())
            return sp.release();
        error("%s: bad SentencePiece model: %s", path, status.ToString().c_str());
    } catch (const std::exception &e) {
        error("%s: bad SentencePiece model: %s", path, e.what());
    }
    return nullptr;
}

extern "C" void sentencepiece_close(struct sentencepiece *sp)
{
    delete sp;
}

extern "C" int sentencepiece_encode(const struct sentencepiece *sp, const char *text, size_t nbytes,
                                    struct ids *out)
{
    try {
        std::vector<int> ids;
        const auto status = sp->processor.Encode({text, nbytes}, &ids);

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

extern "C" int32_t sentencepiece_n_vocab(const struct sentencepiece *sp)
{
    return sp->processor.GetPieceSize();
}

extern "C" int32_t sentencepiece_bos(const struct sentencepiece *sp)
{
    return sp->processor.bos_id();
}

extern "C" int32_t sentencepiece_eos(const struct sentencepiece *sp)
{
    return sp->processor.eos_id();
}

extern "C" const char *sentencepiece_piece(const struct sentencepiece *sp, int32_t id)
{
    return sp->processor.IdToPiece(id).c_str();
}

extern "C" enum sentencepiece_type sentencepiece_type(const struct sentencepiece *sp, int32_t id)
{
    if (sp->processor.IsUnknown(id))
        return SENTENCEPIECE_UNKNOWN;
    if (sp->processor.IsControl(id))
        return SENTENCEPIECE_CONTROL;
    return sp->processor.IsByte(id) ? SENTENCEPIECE_BYTE : SENTENCEPIECE_NORMAL;
}
